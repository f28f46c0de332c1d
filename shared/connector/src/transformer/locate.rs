//! Finds where in a program an error comes from, which jaq does not report.
//!
//! Each part that can stand alone is put into a `try`. Its handler stores the part and raises the same error again. The
//! first handler to see an error belongs to the innermost part. The program's results stay the same. The paths of an
//! update are left alone, since a handler would change them.

use std::cell::RefCell;
use std::ops::Range;

use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::{parse, span};
use jaq_json::Val;

/// The name of the handler. Its argument is the part's number.
pub(super) const HANDLER: &str = "__located";
/// Functions whose arguments are paths. A path cannot contain a handler.
const OF_PATHS: [&str; 4] = ["del", "path", "pick", "delpaths"];
const ASSIGNMENTS: [&str; 8] = ["=", "|=", "+=", "-=", "*=", "/=", "%=", "//="];
const OPERATORS: [&str; 14] = [
    "//", "or", "and", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%",
];
/// Tokens that end a part outside any operator.
const SEPARATORS: [&str; 10] = [
    "|", ",", ";", ":", "if", "then", "elif", "else", "end", "?//",
];

/// The last raised error, and the number of the innermost part that raised it.
pub(super) type Seen = RefCell<Option<(Val, usize)>>;

/// Stores the part that raised an error, unless an inner part is stored already.
pub(super) fn see(seen: &Seen, error: &Val, part: usize) {
    let mut seen = seen.borrow_mut();
    if seen.as_ref().is_none_or(|(known, _)| known != error) {
        *seen = Some((error.clone(), part));
    }
}

/// A program with a handler around each part.
pub(super) struct Instrumented {
    pub(super) program: String,
    /// The position of each part in the original program.
    pub(super) parts: Vec<Range<usize>>,
}

impl Instrumented {
    /// None if the text is not a program.
    pub(super) fn new(program: &str) -> Option<Self> {
        let tokens = Lexer::new(program).lex().ok()?;
        let mut writer = Writer {
            source: program,
            written: 0,
            text: String::new(),
            parts: Vec::new(),
        };
        writer.sequence(&tokens);
        writer.write_until(program.len());
        Some(Self {
            program: writer.text,
            parts: writer.parts,
        })
    }
}

type Tokens<'t, 's> = &'t [Token<&'s str>];

struct Writer<'s> {
    source: &'s str,
    /// How many bytes of the source have been copied.
    written: usize,
    text: String,
    parts: Vec<Range<usize>>,
}

impl<'s> Writer<'s> {
    fn write_until(&mut self, end: usize) {
        let more = self.source.get(self.written..end).unwrap_or_default();
        self.text.push_str(more);
        self.written = end;
    }

    fn extent(&self, tokens: Tokens<'_, 's>) -> Option<Range<usize>> {
        let (first, last) = tokens.first().zip(tokens.last())?;
        let start = span(self.source, first.as_str()).start;
        Some(start..span(self.source, last.as_str()).end)
    }

    /// Puts a part into a `try`, if it can stand alone.
    fn part(&mut self, tokens: Tokens<'_, 's>, inside: impl FnOnce(&mut Self)) {
        let extent = self.extent(tokens);
        let text = |range: &Range<usize>| self.source.get(range.clone()).unwrap_or_default();
        let Some(range) =
            extent.filter(|range| parse(text(range), |parser| parser.term()).is_some())
        else {
            inside(self);
            return;
        };
        let number = self.parts.len();
        self.parts.push(range.clone());
        self.write_until(range.start);
        self.text.push_str("(try (");
        inside(self);
        self.write_until(range.end);
        // The part may end in a comment, which only a new line ends.
        let _ = std::fmt::Write::write_fmt(
            &mut self.text,
            format_args!("\n) catch {HANDLER}({number}))"),
        );
    }

    fn sequence(&mut self, tokens: Tokens<'_, 's>) {
        for stage in tokens.split(|token| SEPARATORS.contains(&token.as_str())) {
            let assignment = stage
                .iter()
                .rposition(|token| ASSIGNMENTS.contains(&token.as_str()));
            self.part(stage, |writer| match assignment {
                Some(at) => {
                    let value = stage.get(at + 1..).unwrap_or_default();
                    writer.part(value, |writer| writer.operands(value));
                }
                None => writer.operands(stage),
            });
        }
    }

    fn operands(&mut self, tokens: Tokens<'_, 's>) {
        let operands: Vec<_> = tokens
            .split(|token| OPERATORS.contains(&token.as_str()))
            .collect();
        match operands.as_slice() {
            [whole] => self.nested(whole),
            _ => {
                for operand in operands {
                    self.part(operand, |writer| writer.nested(operand));
                }
            }
        }
    }

    /// Handles the contents of parentheses, brackets, braces and strings.
    fn nested(&mut self, tokens: Tokens<'_, 's>) {
        let mut before = "";
        let mut is_pattern = false;
        for token in tokens {
            match &token.1 {
                Tok::Block(inner) => {
                    // The last token closes the block.
                    let inner = inner.split_last().map_or(&[][..], |(_, inner)| inner);
                    match token.as_str().get(..1) {
                        Some("(") if OF_PATHS.contains(&before) => {}
                        Some("(") => {
                            is_pattern = false;
                            self.sequence(inner);
                        }
                        _ if is_pattern => {}
                        Some("{") => self.members(inner),
                        _ => self.sequence(inner),
                    }
                }
                Tok::Str(pieces) => {
                    for piece in pieces {
                        if let StrPart::Term(Token(_, Tok::Block(inner))) = piece {
                            self.sequence(inner.split_last().map_or(&[][..], |(_, inner)| inner));
                        }
                    }
                }
                _ => {}
            }
            before = token.as_str();
            is_pattern = is_pattern || before == "as";
        }
    }

    /// Handles the members of an object. Only their values are programs.
    fn members(&mut self, tokens: Tokens<'_, 's>) {
        for member in tokens.split(|token| token.as_str() == ",") {
            let colon = member.iter().position(|token| token.as_str() == ":");
            let (key, value) = member.split_at(colon.map_or(member.len(), |colon| colon + 1));
            self.nested(key);
            self.sequence(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::transformer::{RunError, Transformer};

    /// The part of the program that raises its error.
    fn culprit(program: &str) -> Option<String> {
        let transformer = Transformer::outgoing(program).unwrap();
        match transformer.run_outgoing(r#"{"a": {"b": "x"}, "n": 1, "none": null}"#) {
            Err(RunError::Program { place, .. }) => place.map(|place| place.text),
            other => panic!("{program}: {other:?}"),
        }
    }

    #[test]
    fn the_innermost_part_is_named() {
        for (program, part) in [
            (".a + 1", ".a + 1"),
            (r#".query.filter = "date ge '\(.n[:10])'""#, ".n[:10]"),
            (".n |= (. + 1) | .x = (.n | tojson + {})", "tojson + {}"),
            ("{a: .n, b: (.a | .b.c)}", ".b.c"),
            ("{a: .n, b: .n[0]}", ".n[0]"),
            ("[.n, .a.b.c]", ".a.b.c"),
            ("if .n == 1 then .a.b | tonumber else . end", "tonumber"),
            ("def f: .a - 1; f", ".a - 1"),
            ("del(.n) | .a * .a.b.c", ".a.b.c"),
            (".a as {b: $b} | $b / 2", "$b / 2"),
            (
                "reduce (1, 2) as $i (0; . + ({} | keys[0] - $i))",
                "keys[0] - $i",
            ),
            ("map_values(tonumber)", "tonumber"),
            (".n # first\n| .[0] # then", ".[0]"),
            (r#"try (.a | error("x")) catch (. + 1)"#, ". + 1"),
            (r#".n | error("no \(.)")"#, r#"error("no \(.)")"#),
            ("error({a: 1})", "error({a: 1})"),
            (".a.b |= tonumber", "tonumber"),
        ] {
            assert_eq!(culprit(program).as_deref(), Some(part), "{program}");
        }
    }

    #[test]
    fn the_message_is_that_of_the_program_itself() {
        let transformer = Transformer::outgoing(".x =\n  (.n + {})").unwrap();
        let error = transformer.run_outgoing(r#"{"n": 1}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "jq, line 2, column 4, in `.n + {}`: cannot calculate 1 + {}"
        );
    }

    #[test]
    fn a_program_that_is_not_understood_has_no_place_and_keeps_its_error() {
        // A handler inside a path raises another error.
        let transformer = Transformer::outgoing("first(.n[0]) |= 1").unwrap();
        let error = transformer.run_outgoing(r#"{"a": {}}"#).unwrap_err();
        assert!(error.to_string().starts_with("jq"), "{error}");
    }
}
