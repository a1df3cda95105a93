//! What Python's str says about characters. ASCII is decided here, the rest by the tables of the regex crate.

use regex::Regex;
use std::sync::LazyLock;

/// str.isspace and \s, which also hold the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    matches!(c, '\u{1c}'..='\u{1f}') || c.is_whitespace()
}

pub fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next();
    first.is_some_and(|c| c == '_' || c.is_alphabetic()) && chars.all(|c| c == '_' || c.is_alphanumeric())
}

macro_rules! class {
    ($name:ident, $ascii:expr, $pattern:expr) => {
        pub fn $name(c: char) -> bool {
            static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).expect("a constant"));
            if c.is_ascii() {
                let ascii: fn(char) -> bool = $ascii;
                ascii(c)
            } else {
                PATTERN.is_match(c.encode_utf8(&mut [0; 4]))
            }
        }
    };
}

class!(is_alpha, |c| c.is_ascii_alphabetic(), r"^\p{L}$");
class!(is_decimal, |c| c.is_ascii_digit(), r"^\p{Nd}$");
// Superscripts and circled digits are digits, but in no category of their own.
class!(
    is_digit,
    |c| c.is_ascii_digit(),
    r"(?x)^[\p{Nd}\u00b2\u00b3\u00b9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c
      \u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]$"
);
class!(is_numeric, |c| c.is_ascii_digit(), r"^\p{N}$");
class!(is_printable, |c| (' '..='~').contains(&c), r"^[^\p{C}\p{Z}]$");
class!(is_upper, |c| c.is_ascii_uppercase(), r"^\p{Uppercase}$");
class!(is_lower, |c| c.is_ascii_lowercase(), r"^\p{Lowercase}$");
class!(is_title, |_| false, r"^\p{Lt}$");

/// The characters at which str.splitlines splits.
pub fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}
