//! A tree of patterns, with a node for each segment. The tree of matchit does not try a second pattern after the suffix
//! of a parameter has matched a segment, so a set of patterns with suffixes uses this tree.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::rule::twins::gap;

/// Patterns with the indexes of their rules. The most specific pattern that matches a path is found.
#[derive(Debug)]
pub(super) struct SegmentTree {
    /// The nodes. The first is the root.
    nodes: Vec<Node>,
    has_suffix: bool,
}

/// The continuations of the patterns that begin with the same segments.
#[derive(Debug, Default)]
struct Node {
    /// The rule of the pattern that ends here.
    rule: Option<usize>,
    literals: HashMap<Box<str>, usize, FixedState>,
    /// The parameters beside text. The more specific ones are first.
    parts: Vec<Part>,
    /// The node below a parameter that is a whole segment.
    whole: Option<usize>,
    /// The rule of the pattern with `{*rest}` here.
    rest: Option<usize>,
}

/// A segment with a parameter and text.
#[derive(Debug)]
struct Part {
    prefix: String,
    suffix: String,
    below: usize,
}

impl Part {
    fn matches(&self, segment: &str) -> bool {
        let value = segment.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix));
        value.is_some_and(|value| !value.is_empty())
    }
}

impl Default for SegmentTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], has_suffix: false }
    }
}

impl SegmentTree {
    /// Returns true if a pattern has text behind a parameter, in the same segment.
    pub(super) fn has_suffix(&self) -> bool {
        self.has_suffix
    }

    /// Adds a pattern that the tree of matchit has accepted.
    pub(super) fn insert(&mut self, pattern: &str, place: usize) {
        let mut node = 0;
        for segment in pattern.split('/').skip(1) {
            let next = self.nodes.len();
            let here = &mut self.nodes[node];
            let below = match gap(segment) {
                Some((0, _)) if segment.starts_with("{*") => {
                    here.rest = Some(place);
                    return;
                }
                Some((0, to)) if to == segment.len() => *here.whole.get_or_insert(next),
                Some((from, to)) => {
                    let (prefix, suffix) =
                        (without_escapes(&segment[..from]), without_escapes(&segment[to..]));
                    self.has_suffix |= !suffix.is_empty();
                    let is_same = |part: &&Part| part.prefix == prefix && part.suffix == suffix;
                    let known = here.parts.iter().find(is_same).map(|part| part.below);
                    if known.is_none() {
                        here.parts.push(Part { prefix, suffix, below: next });
                        here.parts.sort_by_key(|part| Reverse((part.prefix.len(), part.suffix.len())));
                    }
                    known.unwrap_or(next)
                }
                None => *here.literals.entry(without_escapes(segment).into()).or_insert(next),
            };
            if below == next {
                self.nodes.push(Node::default());
            }
            node = below;
        }
        self.nodes[node].rule = Some(place);
    }

    /// Returns the index of the rule for a path.
    pub(super) fn at(&self, path: &str) -> Option<usize> {
        self.below(0, Some(path.strip_prefix('/')?))
    }

    /// Returns the index of the rule for the remaining segments of a path. It calls itself only at nodes that have
    /// several kinds of segments, so a long path does not fill the stack.
    fn below(&self, node: usize, rest: Option<&str>) -> Option<usize> {
        let (mut node, mut rest) = (&self.nodes[node], rest);
        loop {
            let Some(path) = rest else { return node.rule };
            let (segment, below) =
                path.split_once('/').map_or((path, None), |(segment, below)| (segment, Some(below)));
            let literal = node.literals.get(segment).copied();
            if let (Some(literal), true, None, None) = (literal, node.parts.is_empty(), node.whole, node.rest)
            {
                (node, rest) = (&self.nodes[literal], below);
                continue;
            }
            let part = |part: &Part| {
                if part.matches(segment) { self.below(part.below, below) } else { None }
            };
            let whole = || node.whole.filter(|_| !segment.is_empty());
            return literal
                .and_then(|literal| self.below(literal, below))
                .or_else(|| node.parts.iter().find_map(part))
                .or_else(|| whole().and_then(|whole| self.below(whole, below)))
                .or_else(|| node.rest.filter(|_| !path.is_empty()));
        }
    }
}

/// Returns the text of a pattern with single braces.
fn without_escapes(text: &str) -> String {
    text.replace("{{", "{").replace("}}", "}")
}
