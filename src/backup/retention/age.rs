//! An age limit in rclone's notation, without the values that would make rclone delete every backup: it reads `10` as ten
//! seconds and `off` as no limit.

use std::str::FromStr;

/// An age limit, from an hour to 100 years.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Age {
    seconds: u32,
}

/// rclone's units (`fs/parseduration.go`) and their seconds.
const UNITS: [(char, f64); 7] = [
    ('s', 1.0),
    ('m', 60.0),
    ('h', 3_600.0),
    ('d', 86_400.0),
    ('w', 604_800.0),
    ('M', 2_592_000.0),
    ('y', 31_536_000.0),
];
// Less than an hour is likely a slip, such as `3m` for three months.
const SHORTEST: f64 = 3_600.0;
const LONGEST: f64 = 100.0 * 31_536_000.0;

impl Age {
    pub const fn seconds(&self) -> u32 {
        self.seconds
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = seconds_of(text).map_err(|why| {
            format!(
                "{why}; allowed is a number and one of rclone's units, from 1h to 100y: 36h, 10d, 2w, 3M (months), 1y"
            )
        })?;
        Ok(Self { seconds })
    }
}

fn seconds_of(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Err("is empty".into());
    }
    if matches!(text, "off" | "0") {
        return Err("would delete every backup".into());
    }
    if text.starts_with('-') {
        return Err("is negative and would delete every backup".into());
    }
    if plain_number(text).is_some() {
        return Err(format!("has no unit, and rclone would read it as seconds; did you mean `{text}d`?"));
    }
    // rclone takes a date too. The limit would then stand still, and no later backup would ever be removed.
    if looks_like_a_date(text) {
        return Err("is a date, not an age".into());
    }
    let total = one_unit(text).or_else(|| clock_units(text)).ok_or_else(|| explain(text))?;
    if total < SHORTEST {
        return Err(too_short(text));
    }
    if total > LONGEST {
        return Err("is longer than 100 years".into());
    }
    // 100 years fit into `u32`. Rounded up, so that no backup is removed early.
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(total.ceil() as u32)
}

/// Digits with at most one point. Rust would also parse signs, exponents and `inf`.
fn plain_number(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(fraction) { text.parse().ok() } else { None }
}

fn looks_like_a_date(text: &str) -> bool {
    text.split('-').count() == 3 && text.bytes().take(4).all(|b| b.is_ascii_digit())
}

fn one_unit(text: &str) -> Option<f64> {
    let unit = text.chars().last()?;
    let (_, seconds) = UNITS.iter().find(|(u, _)| *u == unit)?;
    plain_number(text.strip_suffix(unit)?).map(|n| n * seconds)
}

/// The only units that rclone combines: hours, minutes and seconds, as in `36h30m`.
fn clock_units(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['h', 'm', 's'])?;
        let (number, tail) = rest.split_at(end);
        let unit = tail.chars().next()?;
        let (_, seconds) = UNITS.iter().find(|(u, _)| *u == unit)?;
        total += plain_number(number)? * seconds;
        rest = tail.strip_prefix(unit)?;
    }
    Some(total)
}

fn too_short(text: &str) -> String {
    let number = text.trim_end_matches('m');
    if text.ends_with('m') && plain_number(number).is_some() {
        return format!("is {number} minutes, less than an hour; did you mean `{number}M`, which is months?");
    }
    "is less than an hour".into()
}

fn explain(text: &str) -> String {
    if text.chars().any(char::is_whitespace) {
        return format!("has white space in it; did you mean `{}`?", text.split_whitespace().collect::<String>());
    }
    let lower = text.to_lowercase();
    // `10D`, for example.
    if lower != text && one_unit(&lower).is_some() {
        return format!("has an unknown unit; did you mean `{lower}`?");
    }
    if text.bytes().any(|b| matches!(b, b'd' | b'w' | b'M' | b'y'))
        && text.bytes().filter(u8::is_ascii_alphabetic).count() > 1
    {
        return "combines units, which rclone takes only of h, m and s; did you mean one unit, such as `36h` for a day and a half?"
            .into();
    }
    "is not an age".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Option<u32> {
        text.parse::<Age>().ok().map(|a| a.seconds())
    }

    #[test]
    fn rclone_units() {
        for (text, expected) in [
            ("1h", 3_600),
            ("10d", 864_000),
            ("1.5d", 129_600),
            ("1w", 604_800),
            ("3M", 7_776_000),
            ("1y", 31_536_000),
            ("90m", 5_400),
            ("3600s", 3_600),
            ("36h30m", 131_400),
            ("1h0m1s", 3_601),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn dangerous_values_are_refused() {
        for text in [
            "0",
            "0s",
            "0d",
            "-1",
            "-1d",
            "off",
            "-10d",
            "10",
            "10m",
            "3m",
            "1e1",
            "",
            " ",
            "10 d",
            "10d\n",
            "10D",
            "1d12h",
            "٣d",
            "10d;rm",
            "inf",
            "NaN",
            "1e300d",
            "2026-11-10",
            "+10d",
            "1_0d",
            "59m",
            "3599s",
            "h",
            ".d",
            "1.d",
            "101y",
            "1000000M",
            "1ms",
            "1h-2h",
        ] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_hint_names_the_unit_that_was_meant() {
        let hint = |text: &str| text.parse::<Age>().unwrap_err();
        assert!(hint("10").contains("`10d`"));
        assert!(hint("3m").contains("`3M`"));
        assert!(hint("10D").contains("`10d`"));
        assert!(hint("10 d").contains("`10d`"));
        assert!(hint("1d12h").contains("`36h`"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_never_gives_less_than_an_hour(text in "\\PC{0,12}") {
            if let Some(seconds) = seconds(&text) {
                prop_assert!((3_600..=3_153_600_000).contains(&seconds));
            }
        }
    }
}
