//! Text of others, such as the error of a member or of rclone, as it may stand in a line of ours. Pure.

use std::borrow::Cow;

/// The most bytes of a value that an error repeats.
const LONGEST_VALUE: usize = 200;

/// One line without control characters: text of others must neither make a line of its own nor steer a terminal.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_but(text, |_| false)
}

/// The same for text of several lines.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_but(text, |c| c == '\n')
}

fn escaped_but(text: &str, allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_odd = |c: char| (c.is_control() || is_format(c)) && !allowed(c);
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_odd(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

/// Line and paragraph separators, and what turns the direction of writing.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The start of a value that is too long to be repeated.
pub fn cut(value: &str) -> Cow<'_, str> {
    if value.len() <= LONGEST_VALUE {
        return Cow::Borrowed(value);
    }
    let start = value.get(..value.floor_char_boundary(LONGEST_VALUE)).unwrap_or_default();
    Cow::Owned(format!("{start}… ({} bytes)", value.len()))
}

/// An error in which values are cut: what stands in backticks, and what has no blank in it, where it is longer than any command
/// or path of ours.
pub fn with_cut_values(error: &str) -> Cow<'_, str> {
    if error.len() <= LONGEST_VALUE * 5 {
        return Cow::Borrowed(error);
    }
    let cut = |part| if str::len(part) <= LONGEST_VALUE * 5 { Cow::Borrowed(part) } else { cut(part) };
    let quoted = error.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => part.split(' ').map(cut).collect::<Vec<_>>().join(" "),
        _ => cut(part).into_owned(),
    });
    Cow::Owned(quoted.collect::<Vec<_>>().join("`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_in_its_line() {
        assert_eq!(escaped("plain – ü"), "plain – ü");
        assert_eq!(
            escaped("a\n2026 ERROR b\r\u{1b}[2J\u{9b}1m\u{202e}"),
            r"a\n2026 ERROR b\r\u{1b}[2J\u{9b}1m\u{202e}"
        );
        assert_eq!(escaped_lines("a\nb\u{1b}"), "a\nb\\u{1b}");
    }

    #[test]
    fn only_long_values_are_cut() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"ü".repeat(200)), format!("{}… (400 bytes)", "ü".repeat(100)));
        let error =
            |value: &str| with_cut_values(&format!("retention: `{value}` is no age; allowed is 10d")).into_owned();
        assert_eq!(error("x"), "retention: `x` is no age; allowed is 10d");
        let long = error(&"9 x".repeat(1_000_000));
        assert!(long.len() < 400 && long.ends_with("… (3000000 bytes)` is no age; allowed is 10d"), "{long}");
        assert!(with_cut_values(&"9".repeat(5_000_000)).len() < 400);
    }
}
