//! Patterns with no parameter before their last segment, by their text. Most patterns are of this kind. They are found
//! with one look-up of the part of the path before its last segment.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Such patterns, with the indexes of their rules. A path that is not found here may still match another pattern.
#[derive(Debug, Default)]
pub(super) struct LiteralRouteIndex(HashMap<Box<str>, LastSegments, FixedState>);

/// The patterns that have the same text up to the last segment.
#[derive(Debug, Default)]
struct LastSegments {
    /// The patterns whose last segment is text.
    literals: Vec<(Box<str>, usize)>,
    /// The pattern whose last segment is a parameter. It matches any other last segment, unless `in_part` is set.
    gap: Option<usize>,
    in_part: bool,
}

impl LiteralRouteIndex {
    /// Adds a pattern that the pattern tree has accepted.
    pub(super) fn insert(&mut self, pattern: &str, place: usize) {
        let Some((above, last)) = split(pattern).filter(|(above, _)| !above.contains(['{', '}'])) else {
            return;
        };
        let level = self.0.entry(above.into()).or_default();
        let name = last.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name {
            // A `{*rest}` has the lowest priority, so the tree handles it.
            Some(name) if name.starts_with('*') => {}
            Some(name) if !name.contains(['{', '}']) => level.gap = Some(place),
            None if !last.contains(['{', '}']) => level.literals.push((last.into(), place)),
            _ => level.in_part = true,
        }
    }

    /// Returns the index of the rule for a path.
    #[inline]
    pub(super) fn at(&self, path: &str) -> Option<usize> {
        let (above, last) = split(path)?;
        let level = self.0.get(above)?;
        if let Some((_, place)) = level.literals.iter().find(|(literal, _)| **literal == *last) {
            return Some(*place);
        }
        level.gap.filter(|_| !level.in_part && !last.is_empty())
    }
}

/// Splits a path after its last slash, into the part before and the last segment.
#[inline]
fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.bytes().rposition(|byte| byte == b'/')?;
    path.split_at_checked(slash + 1)
}

#[cfg(test)]
mod tests {
    use matchit::Router;

    use super::LiteralRouteIndex;

    #[test]
    fn linear_search_agrees_with_the_tree() {
        let sets: [&[&str]; 9] = [
            &["/a/{x}", "/a/{*rest}", "/{*rest}"],
            &["/{*rest}", "/a/{x}", "/a/{x}/c"],
            &["/{x}/{y}", "/a/{x}", "/a/bc", "/ab/c", "/a/{x}/"],
            &["/", "/a", "/a/", "/a/{x}", "/a/b", "/a/b/{x}", "/{x}/b"],
            &["/a/{x}.json", "/a/{x}", "/a/b"],
            &["/a/{x}", "/a/{x}.json", "/a/b"],
            &["/a/p{x}", "/a/{x}", "/a/p"],
            &["/a/{*rest}", "/a/b", "/{x}/{y}"],
            &["/{x}", "/a{{b", "/b}}", "/a{{b/c"],
        ];
        let paths = [
            "",
            "/",
            "/a",
            "/a/",
            "/a/b",
            "/a/c",
            "/a/p",
            "/a/pc",
            "/a/c.json",
            "/a/.json",
            "/a/b/",
            "/a/b/c",
            "/c/b",
            "//",
            "/a//b",
            "/a{b",
            "/b}",
            "/a{b/c",
            "a",
        ];
        let mut straight_on = 0;
        for patterns in sets {
            let (mut tree, mut straight) = (Router::new(), LiteralRouteIndex::default());
            for (place, pattern) in patterns.iter().enumerate() {
                if tree.insert(*pattern, place).is_ok() {
                    straight.insert(pattern, place);
                }
            }
            for path in paths {
                let in_tree = tree.at(path).ok().map(|found| *found.value);
                let found = straight.at(path);
                straight_on += usize::from(found.is_some());
                assert!(found.is_none() || found == in_tree, "{path} of {patterns:?}: {found:?} {in_tree:?}");
            }
        }
        assert!(straight_on >= 30, "{straight_on} are found without the tree");
    }
}
