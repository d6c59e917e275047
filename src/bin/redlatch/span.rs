//! Times, as they are said on the command line and shown.

use std::time::Duration;

/// A time of any length: a number and a unit, `500ms`, `10s`, `5m`, `2h`.
pub(crate) fn any(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "" => return Err("a time has a unit: ms, s, m or h".to_owned()),
        _ => return Err(format!("{unit:?} is no unit: ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{number:?} is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "too long".to_owned())
}

/// As [`any`], and not zero.
pub(crate) fn positive(text: &str) -> Result<Duration, String> {
    match any(text)? {
        Duration::ZERO => Err("zero is too short".to_owned()),
        time => Ok(time),
    }
}

/// A time in the largest unit that says something about it.
pub(crate) fn shown(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Whole milliseconds.
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(any("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(any("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(any("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(any("0s"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "1d",
            "1.2.3s",
            "1e3s",
            "999999999999999999999h",
        ] {
            assert!(any(wrong).is_err(), "{wrong:?}");
        }
        assert!(positive("0s").is_err());
    }

    #[test]
    fn times_are_shown_in_the_unit_they_are_of() {
        let cases = [
            (7, "7ms"),
            (1_250, "1.2s"),
            (61_000, "1m01s"),
            (3_660_000, "1h01m"),
        ];
        for (ms, text) in cases {
            assert_eq!(shown(ms), text);
        }
    }
}
