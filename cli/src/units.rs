//! Durations and sizes as people type them.

use std::time::Duration;

use executor::MIB;

const DAY: Duration = Duration::from_secs(24 * 3600);
const KIB: u64 = 1024;
const GIB: u64 = 1024 * MIB;
/// No host has this much; a larger number is a slip of the finger.
const LARGEST_SIZE: u64 = 1024 * GIB;

/// Reads a duration: `2s`, `500ms`, `1.5m`, and a bare number is seconds. From 1 ms to a day.
///
/// # Errors
///
/// It is no duration, or out of range; the message says which.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)
        .ok_or("expected a number and a unit, for example 2s, 500ms or 1.5m".to_owned())?;
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "" | "s" | "sec" => number,
        "ms" => number / 1e3,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => {
            return Err(format!(
                "unknown unit {unit:?}; known: ms, s (also without), m, h"
            ));
        }
    };
    if seconds < 0.001 {
        return Err("a run needs at least 1ms".to_owned());
    }
    match Duration::try_from_secs_f64(seconds) {
        // In whole milliseconds, as results record it.
        Ok(time) if time <= DAY => Ok(Duration::from_millis((seconds * 1e3).round() as u64)),
        _ => Err("more than a day (24h)".to_owned()),
    }
}

/// Reads a size in bytes: `1024MiB`, `512MB` (which means MiB too), `64k`, and a bare number is
/// bytes. From 1 byte to 1 TiB.
///
/// # Errors
///
/// It is no size, or out of range; the message says which.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) =
        split(text).ok_or("expected a number and a unit, for example 512MiB or 2GB".to_owned())?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        _ => {
            return Err(format!(
                "unknown unit {unit:?}; known: KiB, MiB, GiB, and none for bytes"
            ));
        }
    };
    let bytes = number * scale as f64;
    if bytes < 1.0 {
        return Err("must be at least 1 byte".to_owned());
    }
    if bytes > LARGEST_SIZE as f64 {
        return Err("more than 1024GiB".to_owned());
    }
    Ok(bytes.round() as u64)
}

/// Reads the size of an output that is kept in memory: [`size`], up to 1 GiB.
///
/// # Errors
///
/// It is no size, or out of range.
pub(crate) fn buffer(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes > GIB => Err("more than 1GiB; it is kept in memory".to_owned()),
        bytes => Ok(bytes),
    }
}

/// A number without sign or exponent, and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A duration for people: `3 ms`, `0.41 s`, `12.3 s`, `4 min 10 s`.
pub(crate) fn show_duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s < 0.1 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {:02} s", s as u64 / 60, s as u64 % 60),
        s => format!("{} h {:02} min", s as u64 / 3600, s as u64 / 60 % 60),
    }
}

/// A size for people: `512 B`, `9.4 MiB`, `1024 MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    match bytes {
        b if b < KIB => format!("{b} B"),
        b if b < MIB => format!("{:.0} KiB", b as f64 / KIB as f64),
        b if b < 100 * MIB => format!("{:.1} MiB", b as f64 / MIB as f64),
        b if b < 10 * GIB => format!("{:.0} MiB", b as f64 / MIB as f64),
        b => format!("{:.1} GiB", b as f64 / GIB as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = [
            ("2s", 2000),
            ("500ms", 500),
            ("30", 30_000),
            ("1.5", 1500),
            (".5s", 500),
            ("2 min", 120_000),
            ("24h", 86_400_000),
        ];
        for (text, milliseconds) in good {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        let bad = [
            ("0", "at least 1ms"),
            ("0.2ms", "at least 1ms"),
            ("25h", "more than a day"),
            ("99999999999999999999999999", "more than a day"),
            ("2 weeks", "unknown unit \"weeks\""),
            ("-1s", "expected a number"),
            ("1e3", "unknown unit \"e3\""),
            ("1.2.3s", "expected a number"),
            ("inf", "expected a number"),
            ("", "expected a number"),
        ];
        for (text, part) in bad {
            let message = duration(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn sizes() {
        let good = [
            ("1024MiB", 1 << 30),
            ("512MB", 512 << 20),
            ("512m", 512 << 20),
            ("1.5 GiB", 3 << 29),
            ("64k", 64 << 10),
            ("4096", 4096),
            ("1024GiB", 1 << 40),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        let bad = [
            ("0", "at least 1 byte"),
            ("0.1", "at least 1 byte"),
            ("2TB", "unknown unit \"TB\""),
            ("1025GiB", "more than 1024GiB"),
            ("999999999999999999999999", "more than 1024GiB"),
            ("lots", "expected a number"),
            ("-5MB", "expected a number"),
        ];
        for (text, part) in bad {
            let message = size(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn outputs_are_kept_in_memory() {
        assert_eq!(buffer("1GiB"), Ok(1 << 30));
        assert!(buffer("2GiB").is_err_and(|message| message.contains("kept in memory")));
    }

    #[test]
    fn shown_with_as_many_digits_as_mean_something() {
        let times = [
            (3, "3 ms"),
            (410, "0.41 s"),
            (12_340, "12.3 s"),
            (250_000, "4 min 10 s"),
            (3_720_000, "1 h 02 min"),
        ];
        for (milliseconds, text) in times {
            assert_eq!(show_duration(Duration::from_millis(milliseconds)), text);
        }
        let sizes = [
            (17, "17 B"),
            (2048, "2 KiB"),
            (9_856_000, "9.4 MiB"),
            (1 << 30, "1024 MiB"),
            (1 << 34, "16.0 GiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(show_size(bytes), text);
        }
    }
}
