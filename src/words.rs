//! Suggestions for misspelt words in errors.

/// Returns the known word that `written` most probably means. It differs only in case, hyphens, spaces and underscores,
/// or in a few letters.
pub(crate) fn nearest<'w>(written: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let written = folded(written);
    // One letter in three may be wrong, and at least one in a short word.
    let most = (written.len() / 3).clamp(1, 4);
    let near = known.into_iter().map(|word| (distance(&written, &folded(word)), word));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Returns the question that an error asks if a known word is similar, or an empty text.
pub(crate) fn meant<'w>(written: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    nearest(written, known).map(|word| format!("did you mean `{word}`? ")).unwrap_or_default()
}

/// Returns the remedy for an unknown word: the most similar known word, and a list of all known words.
pub(crate) fn one_of<'w>(written: &str, known: impl Iterator<Item = &'w str> + Clone) -> String {
    let listed: Vec<_> = known.clone().map(|word| format!("`{word}`")).collect();
    format!("{}write one of: {}", meant(written, known), listed.join(", "))
}

fn folded(word: &str) -> Vec<char> {
    let letters = word.chars().filter(|letter| !matches!(letter, '-' | '_' | ' '));
    // A long value is not a misspelt word: its first 64 letters differ enough from every known word.
    letters.flat_map(char::to_lowercase).take(64).collect()
}

/// Returns the number of letters that must be changed, added, removed or swapped with their neighbour to turn one word
/// into the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (row, letter) in from.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let changed = rows[row][column] + usize::from(letter != other);
            let mut least = changed.min(rows[row][column + 1] + 1).min(next[column] + 1);
            let swapped = row > 0 && column > 0 && from[row - 1] == *other && to[column - 1] == *letter;
            if swapped {
                least = least.min(rows[row - 1][column - 1] + 1);
            }
            next.push(least);
        }
        rows.push(next);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn similar_words_are_suggested() {
        let known = ["look_up", "rate_limits", "scopes", "plan"];
        for (written, meant) in [
            ("look-up", Some("look_up")),
            ("rate limits", Some("rate_limits")),
            ("RateLimit", Some("rate_limits")),
            ("scpoes", Some("scopes")),
            ("plans", Some("plan")),
            ("credits", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
