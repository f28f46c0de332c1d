//! Shows foreign text on one line of a terminal.

/// At most `most` characters, without control characters that would move the cursor.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    let mut characters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut excerpt: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        excerpt.pop();
        excerpt.push('…');
    }
    excerpt
}
