//! The rules of SEMANTICS section 3, row by row, and what holds for all of them.

use judge::{Compare, ParseCompareError, first_difference};
use proptest::prelude::*;

fn mode(word: &str) -> Compare {
    word.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Name, actual output, expected output, whether they match.
type Row<'a> = (&'a str, &'a [u8], &'a [u8], bool);

fn check(word: &str, rows: &[Row]) {
    let compare = mode(word);
    for &(name, actual, expected, same) in rows {
        assert_eq!(compare.matches(actual, expected), same, "{word}: {name}");
        let difference = first_difference(&compare, actual, expected);
        assert_eq!(
            difference.is_none(),
            same,
            "first difference of {word}: {name}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn exact_is_bytes() {
    check("exact", &[
        ("same", b"1 2\n", b"1 2\n", true),
        ("final newline missing", b"1 2", b"1 2\n", false),
        ("CRLF", b"1\r\n", b"1\n", false),
        ("empty for empty", b"", b"", true),
        ("a newline is not empty", b"\n", b"", false),
        ("bytes that are no UTF-8", b"\xff\xfe", b"\xff\xfe", true),
        ("other such bytes", b"\xff", b"\xfe", false),
    ]);
}

#[test]
#[rustfmt::skip]
fn rstrip_nl_forgives_final_newlines_only() {
    check("rstrip_nl", &[
        ("newline missing", b"1 2", b"1 2\n", true),
        ("three of them", b"1 2\n\n\n", b"1 2", true),
        ("blank at the end", b"1 2 \n", b"1 2\n", false),
        ("CR at the end", b"1 2\r\n", b"1 2\n", false),
        ("newline in front", b"\n1 2", b"1 2", false),
        ("newlines for empty", b"\n\n", b"", true),
        ("a blank for empty", b" \n", b"", false),
    ]);
}

#[test]
#[rustfmt::skip]
fn lines_forgive_blanks_at_line_ends() {
    check("lines", &[
        ("blanks at line ends", b"a \nb\t\n", b"a\nb\n", true),
        ("CRLF", b"a\r\nb\r\n", b"a\nb", true),
        ("VT and FF are blanks", b"a\x0b\x0c\nb", b"a\nb", true),
        ("empty lines at the end", b"a\n\n \n", b"a", true),
        ("empty line in the middle", b"a\n\nb", b"a\nb", false),
        ("empty line in front", b"\na", b"a", false),
        ("indentation counts", b" a", b"a", false),
        ("inner blanks count", b"a  b", b"a b", false),
        ("lone CR ends no line", b"a\rb", b"a\nb", false),
        ("case counts", b"A", b"a", false),
        ("blank output for empty", b" \n\t\n", b"", true),
        ("word for empty", b"a", b"", false),
        ("empty for word", b"", b"a", false),
        ("NUL is no blank", b"a\0", b"a", false),
    ]);
}

#[test]
#[rustfmt::skip]
fn tokens_are_runs_between_white_space() {
    check("tokens", &[
        ("layout does not count", b"1 2\n3\n", b"1\n2 3", true),
        ("every kind of white space", b"1 2\t3\n4\x0b5\x0c6\r7", b"1 2 3 4 5 6 7", true),
        ("case counts", b"Yes", b"YES", false),
        ("numbers are words", b"1.0", b"1", false),
        ("leading zeros count", b"07", b"7", false),
        ("a token too many", b"1 2 3", b"1 2", false),
        ("a token too few", b"1", b"1 2", false),
        ("order counts", b"2 1", b"1 2", false),
        ("run together", b"12", b"1 2", false),
        ("blank output for empty", b" \r\n\x0c", b"", true),
        ("output for empty", b"x", b"", false),
        ("nothing printed", b"", b"x", false),
        ("no-break space is no white space", "1\u{a0}2".as_bytes(), b"1 2", false),
        ("unit separator neither", b"1\x1f2", b"1 2", false),
        ("a byte order mark counts", b"\xef\xbb\xbf1", b"1", false),
        ("bytes that are no UTF-8", b"\xff 1", b"\xff\n1", true),
        ("other such bytes", b"\xff 1", b"\xfe 1", false),
    ]);
}

#[test]
#[rustfmt::skip]
fn tokens_ci_fold_ascii_letters() {
    check("tokens_ci", &[
        ("case does not count", b"Yes nO", b"YES\nno", true),
        ("letters beyond ASCII keep theirs", "É".as_bytes(), "é".as_bytes(), false),
        ("[ is no letter", b"[", b"{", false),
        ("numbers are words", b"1.0", b"1", false),
        ("a token too many", b"yes no", b"YES", false),
        ("bytes that are no UTF-8", b"\xc9A", b"\xc9a", true),
    ]);
}

#[test]
#[rustfmt::skip]
fn float_tolerates_in_numbers_only() {
    check("float(1e-6,1e-9)", &[
        ("within the absolute tolerance", b"0.1234565", b"0.1234567", true),
        ("outside of it", b"0.123455", b"0.123457", false),
        ("within the relative tolerance", b"1000000.0005", b"1000000.0", true),
        ("outside of both", b"1000.00001", b"1000.0", false),
        ("relative to the expected number", b"0.0", b"1e-7", true),
        ("integer against real", b"5", b"5.0", true),
        ("integers are exact", b"9007199254740993", b"9007199254740992", false),
        ("however close", b"1000000001", b"1000000000", false),
        ("as reals they are close", b"1000000000.1", b"1000000000", true),
        ("sign and zeros of integers", b"+007 -0 -0012", b"7 0 -12", true),
        ("a sign that differs", b"-7", b"7", false),
        ("zero has no sign", b"-0.0 +0", b"0 -0", true),
        ("forms of one number", b"1. .5 +2e0 30E-1", b"1 0.5 2.0 3", true),
        ("NaN is a word", b"nan", b"nan", true),
        ("in its own spelling", b"NaN", b"nan", false),
        ("and no number", b"nan", b"1", false),
        ("infinity is a word", b"inf", b"Infinity", false),
        ("overflow equals nothing else", b"1e999", b"1e998", false),
        ("but itself", b"1e999", b"1e999", true),
        ("huge integers against a real", b"1e400", &[b'9'; 401], false),
        ("hexadecimal is a word", b"0x10", b"16", false),
        ("underscores make words", b"1_000", b"1000", false),
        ("full-width digits too", "１".as_bytes(), b"1", false),
        ("a lone point is a word", b".", b"0", false),
        ("an exponent without digits", b"1e", b"1", false),
        ("an exponent without a number", b"e1", b"0", false),
        ("two signs", b"+-1", b"-1", false),
        ("two points", b"1.2.3", b"1.2", false),
        ("case counts in words", b"Yes", b"yes", false),
        ("words stay exact", b"yes 1.0000000001", b"yes 1", true),
        ("as many tokens", b"1.0 2.0", b"1.0", false),
        ("brackets make words", b"[1.0,2]", b"[1,2]", false),
        ("blank output for empty", b"\n", b"", true),
        ("underflow is zero", b"1e-400", b"0", true),
    ]);
    check("float(0,0)", &[
        ("equal numbers", b"1.50", b"1.5", true),
        ("the smallest step", b"1.0000000000000002", b"1", false),
    ]);
    check("float(0.5,0)", &[
        ("at the tolerance", b"1.5", b"1", true),
        ("beyond", b"1.5000000000000002", b"1", false),
    ]);
    check("float(0,0.5)", &[
        ("half of it", b"50.0", b"100", true),
        ("relative to the expected one", b"100.0", b"50", false),
        ("nothing is close to zero", b"1e-300", b"0", false),
    ]);
}

#[test]
fn huge_integers_compare_as_digits() {
    let (mut actual, expected) = (vec![b'7'; 1 << 20], vec![b'7'; 1 << 20]);
    actual.splice(0..0, *b"+000");
    check(
        "codecontests",
        &[("a million digits", &actual, &expected, true)],
    );
    *actual.last_mut().unwrap() = b'8';
    check(
        "codecontests",
        &[("the last one differs", &actual, &expected, false)],
    );
}

#[test]
#[rustfmt::skip]
fn codecontests_is_deepminds_rule_with_exact_integers() {
    check("codecontests", &[
        ("case does not count", b"YES\n", b"yes", true),
        ("closer than 1e-5", b"0.999991", b"1.0", true),
        ("1e-5 apart", b"0.00001", b"0", false),
        ("no relative tolerance", b"1000000.0001", b"1000000.0", false),
        ("integers are exact", b"9007199254740993", b"9007199254740992", false),
        ("integer against real", b"3", b"2.999999", true),
        ("an exponent in either case", b"1E3", b"1000.0", true),
        ("NaN is a word", b"NAN", b"nan", true),
        ("whatever else differs", b"NaN 1.0", b"nan 1", true),
        ("overflow equals nothing else", b"1e400", b"1e401", false),
        ("form feed separates", b"1\x0c2", b"1 2", true),
        ("as many tokens", b"1 2", b"1", false),
        ("blank output for empty", b"  ", b"", true),
    ]);
}

#[test]
#[rustfmt::skip]
fn unordered_lines_count_each_line() {
    check("unordered_lines", &[
        ("another order", b"b\na\n", b"a\nb\n", true),
        ("each as often", b"a\na\nb", b"a\nb\nb", false),
        ("one too many", b"a\nb\nc", b"b\na", false),
        ("one too few", b"b", b"a\nb", false),
        ("words keep their order", b"2 1", b"1 2", false),
        ("blanks at line ends", b"b\r\na ", b"a\nb", true),
        ("empty lines have no place", b"b\n\na", b"\na\nb\n", true),
        ("blank output for empty", b"\n\n", b"", true),
        ("line for empty", b"a", b"", false),
    ]);
}

#[test]
#[rustfmt::skip]
fn deepmind_parses_integers_as_doubles() {
    check("compat:deepmind", &[
        ("2^53 + 1 is 2^53", b"9007199254740993", b"9007199254740992", true),
        ("small integers differ", b"3", b"2", false),
        ("closer than 1e-5", b"0.999991", b"1", true),
        ("1e-5 apart", b"0.00001", b"0", false),
        ("no relative tolerance", b"1000000.0001", b"1000000.0", false),
        ("case does not count", b"Yes", b"yES", true),
        ("NaN equals NaN in equal outputs", b"nan 1.0", b"NaN 1.0", true),
        ("and in no others", b"nan 1.0", b"nan 1", false),
        ("a NaN with a payload is one", b"nan(7) 1.0", b"nan(7) 1", false),
        ("with another end a word", b"nan(7 1.0", b"nan(7 1", true),
        ("infinities likewise", b"1e999 1.0", b"1e999 1", false),
        ("one plus sign", b"+1", b"1", true),
        ("not two signs", b"+-1", b"-1", false),
        ("nor two plus signs", b"++1", b"1", false),
        ("form feed does not separate", b"1\x0c2", b"1 2", false),
        ("but is stripped off a number", b"\x0c1\x0c", b"1", true),
        ("vertical tab separates", b"1\x0b2", b"1 2", true),
        ("hexadecimal is a word", b"0x10", b"16", false),
        ("as many tokens", b"1 2", b"1", false),
        ("empty for empty", b"\n", b"", true),
        ("bytes that are no UTF-8", b"\xff 1.0", b"\xff 1", true),
    ]);
}

#[test]
#[rustfmt::skip]
fn sandboxfusion_takes_a_line_for_a_number() {
    check("compat:sandboxfusion", &[
        ("case does not count", b"YES", b"yes", true),
        ("also beyond ASCII", "ÉΑΣ".as_bytes(), "éας".as_bytes(), true),
        ("inner blanks count", b"1 2", b"1  2", false),
        ("a real for an integer", b"1.0", b"1", true),
        ("an exponent", b"1e3", b"1000", true),
        ("leading zeros", b"007", b"7", true),
        ("underscores between digits", b"1_000", b"1000", true),
        ("and nowhere else", b"1__000", b"1000", false),
        ("nor at the end", b"1000_", b"1000", false),
        ("a plus sign", b"+5", b"5", true),
        ("full-width digits", "１".as_bytes(), b"1", true),
        ("a superscript is no digit", "²".as_bytes(), b"2", false),
        ("one number a line", b"1.5 2.5", b"1.50 2.50", false),
        ("integers have the tolerance too", b"1000001", b"1000000", true),
        ("1e-5 apart", b"100001", b"100000", false),
        ("NaN by its text", b"NaN", b"nan", true),
        ("infinity is no distance from itself", b"inf", b"1e309", false),
        ("tiny for zero", b"1e-16", b"0", true),
        ("not so tiny", b"1e-14", b"0", false),
        ("CRLF", b"a\r\nb", b"a\nb", true),
        ("blank lines around", b"\n\na\nb\n\n", b"a\nb", true),
        ("indentation", b"  a\n\tb", b"a\nb", true),
        ("blank line in the middle", b"a\n\nb", b"a\nb", false),
        ("no-break space is a blank", "a\u{a0}\nb".as_bytes(), b"a\nb", true),
        ("empty for empty", b"", b"", true),
        ("blank for empty", b" \n", b"", true),
        ("lists are text", b"[1, 2]", b"[1,2]", false),
        ("bytes that are no UTF-8 are never right", b"\xff", b"\xff", false),
    ]);
}

#[test]
#[rustfmt::skip]
fn livecodebench_compares_decimals_exactly() {
    check("compat:livecodebench", &[
        ("equal lines", b"a b\nc\n", b"a b\nc", true),
        ("blanks around lines", b" a \r\n\tb", b"a\nb", true),
        ("inner blanks of numbers", b"1  2", b"1 2", true),
        ("inner blanks of words", b"a  b", b"a b", false),
        ("a word makes the line text", b"x 1.0", b"x 1", false),
        ("forms of one number", b"1.0 1e1 +3 .5 -0.00", b"1 10 3 0.50 0", true),
        ("no tolerance", b"0.1000000000000000000001", b"0.1", false),
        ("large integers", b"50000000000000000", b"50000000000000001", false),
        ("with a fraction", b"50000000000000001.000", b"50000000000000001", true),
        ("as many numbers", b"1 2", b"1 2 3", false),
        ("case counts", b"YES", b"Yes", false),
        ("NaN equals its own text only", b"nan", b"NaN", false),
        ("and not beside other changes", b"nan 1.0", b"nan 1", false),
        ("infinity equals infinity", b"inf", b"Infinity", true),
        ("with its sign", b"-inf", b"inf", false),
        ("underscores anywhere", b"_1__0_", b"10", true),
        ("digits of any script", "１٣".as_bytes(), b"13", true),
        ("an exponent in range", b"10e999999999999999998", b"1e999999999999999999", true),
        ("an exponent out of range", b"10e999999999999999999", b"1e1000000000000000000", false),
        ("zero below the range", b"0e-1999999999999999998", b"0", false),
        ("zero within", b"0e-1999999999999999997", b"-0", true),
        ("a number is no word", b"1.", b"1.x", false),
        ("blank line in the middle", b"1\n\n2", b"1\n2", false),
        ("blank for empty", b"\n", b"", true),
        ("bytes that are no UTF-8 are never right", b"\xff", b"\xff", false),
    ]);
}

#[test]
#[rustfmt::skip]
fn prime_code_tries_three_ways() {
    check("compat:prime_code", &[
        ("equal but for blanks around", b"\n a b\n", b"a b", true),
        ("each line stripped", b" a \n b ", b"a\nb", true),
        ("inner blanks count", b"a  b", b"a b", false),
        ("case counts", b"YES", b"yes", false),
        ("empty lines in the output", b"a\n\nb", b"a\nb", true),
        ("empty lines in the answer", b"a\nb", b"a\n\n\nb", true),
        ("but then blanks count", b"a \nb", b"a\n\nb", false),
        ("a blank line in the answer is a line", b"a\n\nb", b"a\n \nb", true),
        ("even against none", b"a\nb", b"a\n \nb", false),
        ("one number a line", b"1.000001\n2", b"1\n2", true),
        ("relative 1e-5", b"1.00002", b"1", false),
        ("absolute 1e-8", b"1e-9", b"0", true),
        ("digits only are exact", b"1000001", b"1000000", false),
        ("a sign makes them reals", b"-1000001", b"-1000000", true),
        ("so does one real line", b"1000001\n0.5", b"1000000\n0.5", true),
        ("two numbers a line are text", b"1.0 2", b"1 2", false),
        ("words among numbers", b"x\n1.0", b"x\n1", false),
        ("infinity equals infinity", b"inf", b"1e999", true),
        ("NaN equals its text only", b"nan", b"NaN", false),
        ("full-width digits are digits", "１".as_bytes(), b"1", false),
        ("with a real they are numbers", "１\n1.0".as_bytes(), b"1\n1", true),
        ("order counts", b"b\na", b"a\nb", false),
        ("CRLF in the output", b"a\r\nb", b"a\nb", true),
        ("CRLF in both", b"a\r\nb", b"a\r\nb", true),
        ("form feed splits the output only", b"a\x0cb", b"a\x0cb", false),
        ("into lines", b"a\x0cb", b"a\nb", true),
        ("as many lines", b"1.0\n2.0", b"1", false),
        ("blank for empty", b"\n \n", b"", true),
        ("word for empty", b"a", b"", false),
        ("bytes that are no UTF-8 are never right", b"\xff", b"\xff", false),
    ]);
}

/// Mode, actual, expected, then line, column, and the excerpts of actual and expected.
type Difference<'a> = (
    &'a str,
    &'a [u8],
    &'a [u8],
    u64,
    u64,
    Option<&'a str>,
    Option<&'a str>,
);

#[test]
#[rustfmt::skip]
fn first_difference_points_at_it() {
    let rows: &[Difference] = &[
        ("tokens", b"1 2\n3 4\n", b"1 2 3 5", 2, 3, Some("4"), Some("5")),
        ("tokens", b"1 2\n", b"1 2 3", 1, 4, None, Some("3")),
        ("tokens", b"", b"x", 1, 1, None, Some("x")),
        ("tokens", b"1\n\n  2", b"1", 3, 3, Some("2"), None),
        ("float(1e-6,0)", b"1.0\n2.0", b"1\n2.1", 2, 1, Some("2.0"), Some("2.1")),
        ("codecontests", b"YES 1.0\n7", b"yes 1\n8", 2, 1, Some("7"), Some("8")),
        ("lines", b"abc\nabx \n", b"abc\naby", 2, 3, Some("abx"), Some("aby")),
        ("lines", b"abc\n", b"abc\n\nd", 1, 4, None, Some("")),
        ("exact", b"ab\ncd", b"ab\ncd\n", 2, 3, Some("cd"), Some("cd\n")),
        ("exact", b"ab\n", b"ab\n\n", 2, 1, None, Some("\n")),
        ("exact", b"ab", b"", 1, 1, Some("ab"), None),
        ("rstrip_nl", b"ab \n", b"ab\n", 1, 3, Some("ab "), Some("ab")),
        ("unordered_lines", b"b\nc\na", b"a\nb\nd", 2, 1, Some("c"), Some("d")),
        ("compat:deepmind", b"1 nan 2.0", b"1 nan 2", 1, 3, Some("nan"), Some("nan")),
        ("compat:sandboxfusion", b"\n  Yes no", b"yes yes", 2, 7, Some("Yes no"), Some("yes yes")),
        ("compat:livecodebench", b"1.0\n2.0", b"1\n2.5", 2, 3, Some("2.0"), Some("2.5")),
        ("compat:prime_code", b"1.0\n2.0\n", b"1\n2.5", 2, 3, Some("2.0"), Some("2.5")),
        ("compat:prime_code", b"a \nb", b"a\n\nb", 1, 2, Some("a "), Some("a")),
        ("compat:sandboxfusion", b"a\n\xffb", b"a\nb", 2, 1, Some("\u{fffd}b"), Some("a")),
        ("tokens", b"\xff\xfe", b"a", 1, 1, Some("\u{fffd}\u{fffd}"), Some("a")),
    ];
    for &(word, actual, expected, line, column, actual_excerpt, expected_excerpt) in rows {
        let name = format!("{word}: {:?}", String::from_utf8_lossy(actual));
        let found = first_difference(&mode(word), actual, expected).expect(&name);
        assert_eq!((found.line, found.column), (line, column), "{name}");
        assert_eq!(found.actual.as_deref(), actual_excerpt, "{name}");
        assert_eq!(found.expected.as_deref(), expected_excerpt, "{name}");
    }
}

#[test]
fn excerpts_are_short_and_show_the_difference() {
    let mut actual = "é".repeat(10_000);
    let expected = actual.clone() + "!";
    actual.push('?');
    let found = first_difference(&Compare::Tokens, actual.as_bytes(), expected.as_bytes()).unwrap();
    assert_eq!((found.line, found.column), (1, 1));
    assert_eq!(found.actual.unwrap(), format!("…{}?", "é".repeat(20)));
    assert_eq!(found.expected.unwrap(), format!("…{}!", "é".repeat(20)));

    let found = first_difference(&Compare::Exact, expected.as_bytes(), b"").unwrap();
    let shown = found.actual.unwrap();
    assert_eq!(shown.chars().count(), 119);
    assert!(shown.ends_with("é…"), "{shown}");
}

#[test]
fn a_difference_serialises_as_an_object() {
    let found = first_difference(&Compare::Tokens, b"1", b"1 2").unwrap();
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(
        json,
        r#"{"line":1,"column":2,"expected":"2","actual":null}"#
    );
    assert_eq!(
        serde_json::from_str::<judge::FirstDifference>(&json).unwrap(),
        found
    );
}

const WORDS: [&str; 13] = [
    "exact",
    "rstrip_nl",
    "lines",
    "tokens",
    "tokens_ci",
    "float(1e-6,1e-9)",
    "float(0,0.5)",
    "codecontests",
    "unordered_lines",
    "compat:deepmind",
    "compat:sandboxfusion",
    "compat:livecodebench",
    "compat:prime_code",
];

#[test]
fn words_read_and_print_alike() {
    for word in WORDS {
        assert_eq!(mode(word).to_string(), word);
        let json = serde_json::to_string(&mode(word)).unwrap();
        assert_eq!(json, format!("{word:?}"));
        assert_eq!(serde_json::from_str::<Compare>(&json).unwrap(), mode(word));
    }
    assert_eq!(
        mode("float( 1E-06 , 0.000000001 )"),
        mode("float(1e-6,1e-9)")
    );
}

#[test]
fn a_bad_word_is_answered_with_the_good_ones() {
    let rows = [
        ("token", Some("tokens")),
        ("Tokens", Some("tokens")),
        ("tokens-ci", Some("tokens_ci")),
        ("code_contests", Some("codecontests")),
        ("deepmind", Some("compat:deepmind")),
        ("line", Some("lines")),
        ("zzzzzzzzzzzz", None),
        ("", None),
    ];
    for (given, wanted) in rows {
        match given.parse::<Compare>() {
            Err(ParseCompareError::Unknown { word, nearest }) => {
                assert_eq!((word.as_str(), nearest), (given, wanted));
            }
            other => panic!("{given}: {other:?}"),
        }
    }
    let message = "tokns".parse::<Compare>().unwrap_err().to_string();
    assert!(message.starts_with("unknown comparison mode `tokns`, did you mean `tokens`?"));
    for word in WORDS.iter().filter(|word| !word.starts_with("float")) {
        assert!(message.contains(word), "{word} is missing in: {message}");
    }
    assert!(message.contains("float(ABS,REL)"));

    for given in [
        "float",
        "float()",
        "float(1)",
        "float(1,2",
        "float(a,b)",
        "float(-1,0)",
        "float(-0,0)",
        "float(inf,0)",
        "float(0,nan)",
        "float(1,2,3)",
        "floats(1,2)",
    ] {
        let error = given.parse::<Compare>().unwrap_err();
        assert!(
            matches!(error, ParseCompareError::Tolerance { .. }),
            "{given}: {error:?}"
        );
        assert!(error.to_string().contains("float(1e-6,1e-9)"), "{error}");
    }
    let error = serde_json::from_str::<Compare>(r#""tokns""#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("did you mean `tokens`?"), "{error}");
}

/// Texts on which modes agree often enough to test both answers.
fn likely_text() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 17] = [
        b"1",
        b"1.0",
        b"+1",
        b"yes",
        b"YES",
        b"nan",
        b"1e999",
        b" ",
        b" ",
        b"\n",
        b"\n",
        b"\r\n",
        b"\x0c",
        b"\x1c",
        b"\xc2\xa0",
        b"\xef\xbc\x91",
        b"\xff",
    ];
    let piece = prop::sample::select(&PIECES[..]);
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![likely_text(), prop::collection::vec(any::<u8>(), 0..200)]
}

fn any_mode() -> impl Strategy<Value = Compare> {
    prop::sample::select(WORDS.to_vec()).prop_map(mode)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn native_modes_accept_the_expected_output(compare in any_mode(), text in any_text()) {
        let python = ["sandboxfusion", "livecodebench", "prime_code"];
        prop_assume!(!python.iter().any(|judge| compare.to_string().ends_with(judge)));
        prop_assert!(compare.matches(&text, &text));
    }

    #[test]
    fn every_mode_accepts_the_expected_text(compare in any_mode(), text in "[ -~À-ɏ０-９\n]*") {
        prop_assert!(compare.matches(text.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn first_difference_agrees_with_matches(
        compare in any_mode(), actual in any_text(), expected in any_text(),
    ) {
        let found = first_difference(&compare, &actual, &expected);
        prop_assert_eq!(found.is_none(), compare.matches(&actual, &expected));
        if let Some(found) = found {
            let lines: Vec<_> = actual.split(|&byte| byte == b'\n').collect();
            prop_assert!(found.line >= 1 && found.line as usize <= lines.len());
            let line = lines[found.line as usize - 1];
            prop_assert!(found.column >= 1 && found.column as usize <= line.len() + 1);
            for excerpt in [&found.actual, &found.expected].into_iter().flatten() {
                prop_assert!(excerpt.chars().count() <= 120);
            }
            prop_assert!(found.actual.is_some() || found.expected.is_some());
        }
    }

    #[test]
    fn token_modes_ignore_layout(tokens in prop::collection::vec("[!-~]{1,6}", 0..10)) {
        for word in ["tokens", "tokens_ci", "float(0,0)", "codecontests", "compat:deepmind"] {
            let (actual, expected) = (tokens.join("\r\n"), tokens.join(" \t"));
            prop_assert!(mode(word).matches(actual.as_bytes(), expected.as_bytes()));
        }
    }

    #[test]
    fn any_order_of_lines_will_do(
        lines in prop::collection::vec("[ab]{0,2}", 0..6).prop_flat_map(|lines| {
            (Just(lines.clone()), Just(lines).prop_shuffle())
        }),
    ) {
        let (expected, actual) = (lines.0.join("\n"), lines.1.join("\n"));
        prop_assert!(Compare::UnorderedLines.matches(actual.as_bytes(), expected.as_bytes()));
    }

    #[test]
    fn integers_compare_like_integers(a in any::<i32>(), b in any::<i32>(), zeros in 0..4_usize) {
        let padded = |n: i32| {
            format!("{}{}{}", if n < 0 { "-" } else { "+" }, "0".repeat(zeros), n.unsigned_abs())
        };
        for compare in [Compare::CodeContests, Compare::Float { abs: 0.5, rel: 0.5 }] {
            prop_assert!(compare.matches(padded(a).as_bytes(), a.to_string().as_bytes()));
            let same = compare.matches(padded(a).as_bytes(), b.to_string().as_bytes());
            prop_assert_eq!(same, a == b);
        }
    }

    #[test]
    fn tolerances_survive_printing(abs in 0.0..f64::MAX, rel in 0.0..1.0_f64) {
        let compare = Compare::Float { abs, rel };
        prop_assert_eq!(compare.to_string().parse(), Ok(compare));
    }
}

/// Shapes on which a step that is not linear would not come to an end.
#[test]
fn long_outputs_take_linear_time() {
    const SIZE: usize = 1 << 17;
    let filled = |piece: &str| piece.repeat(SIZE / piece.len());
    let shapes = [
        filled("7"),
        filled("0"),
        format!("0.{}", filled("3")),
        format!("1e{}", filled("9")),
        filled("1 "),
        filled("1\n"),
        filled("\n"),
        filled(" "),
        filled("\r"),
        filled("1.5 x\n"),
        filled("_"),
        filled("１"),
        filled("Σ"),
        filled("\u{a0}"),
    ];
    for word in WORDS {
        for shape in &shapes {
            let (at_front, at_end) = (format!("x{shape}"), format!("{shape}x"));
            for other in [shape, &at_front, &at_end] {
                let same = mode(word).matches(shape.as_bytes(), other.as_bytes());
                let difference = first_difference(&mode(word), shape.as_bytes(), other.as_bytes());
                assert_eq!(difference.is_none(), same, "{word}");
            }
        }
    }
}
