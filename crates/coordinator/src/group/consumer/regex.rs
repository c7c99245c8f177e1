//! The regular expressions by which members subscribe. Kafka's are RE2's (KIP-848, `TopicRegexResolver`); here another
//! linear-time library reads them, after what the two write differently has been translated.

use std::collections::BTreeSet;

use ottla_base::Str;
use ottla_metadata::Image;
use regex::{Regex, RegexBuilder};

/// The most bytes that a compiled expression takes, and that its lazily built automaton may.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// How deeply groups may be nested: RE2's own limit.
const MAX_NESTING: u32 = 1000;

/// A compiled expression that matches whole names of topics.
pub(super) struct TopicRegex(Regex);

impl TopicRegex {
    /// Compiles an expression, or says what is wrong with it.
    pub(super) fn compile(text: &str) -> Result<TopicRegex, String> {
        let translated = translate(text)?;
        // By itself first: what closes a group that it has not opened must not close ours.
        build(&translated)?;
        build(&format!("\\A(?:{translated})\\z")).map(TopicRegex)
    }

    /// Whether it matches a whole name.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// The topics whose whole names it matches.
    pub(super) fn topics(&self, image: &Image) -> BTreeSet<Str> {
        let topics = image.topics.iter().filter(|topic| self.matches(&topic.name));
        topics.map(|topic| topic.name.detached()).collect()
    }
}

fn build(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .octal(true)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .nest_limit(MAX_NESTING)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "expression too large".to_owned(),
        // The last line says what; those before show where.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    })
}

/// Rewrites what RE2 and this library read differently: `\Q…\E` quotes; inside a class `[`, `&&`, `--` and `~~` are
/// nothing but letters; and there is no flag `x`.
fn translate(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        if next == '\\' {
            if let Some(quoted) = rest.strip_prefix("\\Q").filter(|_| !in_class) {
                let (quoted, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                out.push_str(&regex::escape(quoted));
                rest = after;
                continue;
            }
            taken += rest[1..].chars().next().map_or(0, char::len_utf8);
            check_escape(&rest[1..])?;
            out.push_str(&rest[..taken]);
        } else if in_class {
            taken = translate_in_class(rest, &mut out);
            in_class = next != ']';
        } else if next == '[' {
            // A `]` right after the beginning is a letter to both.
            let begin = ["[^]", "[]", "[^", "["].into_iter().find(|begin| rest.starts_with(begin));
            taken = begin.map_or(1, str::len);
            out.push_str(&rest[..taken]);
            in_class = true;
        } else if let Some(flags) = rest.strip_prefix("(?") {
            let flags = flags.split([':', ')', '<', 'P']).next().unwrap_or_default();
            if flags.contains(['x', 'u', 'R']) {
                return Err("invalid or unsupported Perl syntax".to_owned());
            }
            out.push('(');
        } else {
            out.push(next);
        }
        rest = &rest[taken..];
    }
    Ok(out)
}

/// Refuses a reference to a group, which is one digit; more of them are a letter's octal number.
fn check_escape(escaped: &str) -> Result<(), String> {
    let is_octal = |letter: Option<&u8>| letter.is_some_and(|letter| (b'0'..=b'7').contains(letter));
    match escaped.as_bytes() {
        [b'1'..=b'7', rest @ ..] if !is_octal(rest.first()) => Err("invalid escape sequence".to_owned()),
        _ => Ok(()),
    }
}

/// Rewrites the next piece of a class, which is not escaped. Says how long it is.
fn translate_in_class(rest: &str, out: &mut String) -> usize {
    if rest.starts_with("[:")
        && let Some(end) = rest.find(":]")
    {
        out.push_str(&rest[..end + 2]);
        return end + 2;
    }
    let next = rest.chars().next().map_or(0, char::len_utf8);
    if ["[", "&", "~"].iter().any(|letter| rest.starts_with(letter)) {
        out.push('\\');
    }
    if rest.starts_with("--") {
        out.push('\\');
    }
    out.push_str(&rest[..next]);
    next
}
