use std::str::FromStr;

use super::{Comparison, Condition, Constant, Factor, Filter, Operator, Term};

/// Deeper than any filter needs. The limit keeps hostile input from exhausting the stack.
const MAX_DEPTH: usize = 32;

/// A text that is not a filter of the language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter, character {position}: {message}")]
pub struct ParseError {
    /// The place of the error, counted in characters from 1.
    pub position: usize,
    /// What is wrong, and what is allowed instead.
    pub message: String,
}

impl FromStr for Filter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser { text, offset: 0 };
        let filter = parser.expression(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(')') => {
                parser.fail("this parenthesis closes nothing; remove it or open one before")
            }
            Some(_) => {
                let found = parser.found();
                match found.to_lowercase().as_str() {
                    lower @ ("and" | "or") => {
                        parser.fail(format!("found `{found}`; write `{lower}` in lower case"))
                    }
                    _ => parser.fail(format!(
                        "found `{found}`; expected `and`, `or` or the end of the filter"
                    )),
                }
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self, depth: usize) -> Result<Filter, ParseError> {
        if depth > MAX_DEPTH {
            return self.fail(format!(
                "parentheses are nested deeper than {MAX_DEPTH} levels; write it flatter"
            ));
        }
        let mut terms = vec![self.term(depth)?];
        while self.keyword("or") {
            terms.push(self.term(depth)?);
        }
        Ok(Filter { terms })
    }

    fn term(&mut self, depth: usize) -> Result<Term, ParseError> {
        let mut conditions = vec![self.condition(depth)?];
        while self.keyword("and") {
            conditions.push(self.condition(depth)?);
        }
        Ok(Term { conditions })
    }

    fn condition(&mut self, depth: usize) -> Result<Condition, ParseError> {
        if self.symbol('(') {
            let group = self.expression(depth + 1)?;
            self.expect(')', "the parenthesis of a group is not closed; add `)`")?;
            return Ok(Condition::Group(group));
        }
        self.comparison().map(Condition::Simple)
    }

    fn comparison(&mut self) -> Result<Comparison, ParseError> {
        let field =
            match self.word() {
                Some("not") => return self.fail_word(
                    "not",
                    "`not` is not part of the filter language; allowed operators: eq, ge, le, in",
                ),
                Some(field) => field.to_owned(),
                None => return self.fail("expected a field name, for example `date`"),
            };
        if self.peek() == Some('(') {
            return self.fail(format!(
                "functions such as `{field}(...)` are not part of the filter language; write `field operator value`"
            ));
        }
        let operator = self.operator()?;
        let factor = self.factor()?;
        Ok(Comparison {
            field,
            operator,
            factor,
        })
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        let Some(word) = self.word() else {
            return self.fail("expected an operator: eq, ge, le or in");
        };
        match word {
            "eq" => Ok(Operator::Eq),
            "ge" => Ok(Operator::Ge),
            "le" => Ok(Operator::Le),
            "in" => Ok(Operator::In),
            other if Operator::NAMES.contains(&other.to_lowercase().as_str()) => {
                let lower = other.to_lowercase();
                let message = format!("found `{other}`; write `{lower}` in lower case");
                self.fail_word(other, message)
            }
            other => {
                let message = format!(
                    "`{other}` is not an operator of the filter language; allowed: eq, ge, le, in"
                );
                self.fail_word(other, message)
            }
        }
    }

    fn factor(&mut self) -> Result<Factor, ParseError> {
        if self.peek() == Some('(') {
            return Ok(Factor::List {
                name: None,
                items: self.list()?,
            });
        }
        let before = self.offset;
        if let Some(name) = self.word().map(str::to_owned) {
            if self.peek() == Some('(')
                && !name.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            {
                return Ok(Factor::List {
                    name: Some(name),
                    items: self.list()?,
                });
            }
            self.offset = before;
        }
        self.constant().map(Factor::Constant)
    }

    fn list(&mut self) -> Result<Vec<Constant>, ParseError> {
        self.expect('(', "expected a list in parentheses")?;
        if self.peek() == Some(')') {
            return self.fail("a list needs at least one value");
        }
        let mut items = vec![self.constant()?];
        while self.symbol(',') {
            items.push(self.constant()?);
        }
        self.expect(
            ')',
            "the list is not closed; add `)`, or `,` before a further value",
        )?;
        Ok(items)
    }

    fn constant(&mut self) -> Result<Constant, ParseError> {
        if self.peek() == Some('\'') {
            return self.quoted();
        }
        let before = self.offset;
        if let Some(text) = self.wrongly_quoted() {
            let quote = self.peek().unwrap_or_default();
            return self.fail(format!(
                "found `{quote}`; strings and dates stand in single quotes: write '{text}'"
            ));
        }
        let Some(word) = self.word() else {
            let found = self.found();
            return self.fail(format!(
                "found `{found}`; expected a value: an integer, a 'quoted string', true or false"
            ));
        };
        match word {
            "true" => return Ok(Constant::Boolean(true)),
            "false" => return Ok(Constant::Boolean(false)),
            _ => {}
        }
        if let Ok(integer) = word.parse() {
            return Ok(Constant::Integer(integer));
        }
        self.offset = before;
        self.fail(format!(
            "`{word}` is not a value; write an integer of at most 64 bits, a 'quoted string' (dates too), true or false"
        ))
    }

    /// A doubled quote is part of the text and kept as written.
    fn quoted(&mut self) -> Result<Constant, ParseError> {
        let start = self.offset + 1;
        let mut end = start;
        loop {
            match self.text.get(end..).and_then(|rest| rest.find('\'')) {
                None => return self.fail("the string is not closed; add a single quote"),
                Some(length) => end += length,
            }
            if !self.text[end + 1..].starts_with('\'') {
                break;
            }
            end += 2;
        }
        self.offset = end + 1;
        Ok(Constant::String(self.text[start..end].to_owned()))
    }

    /// A text in quotes of another kind, such as word processors write.
    fn wrongly_quoted(&mut self) -> Option<&'a str> {
        const OTHER: [char; 9] = [
            '"', '\u{2018}', '\u{2019}', '\u{201C}', '\u{201D}', '\u{201E}', '`', '\u{B4}',
            '\u{AB}',
        ];
        let quote = self.peek().filter(|quote| OTHER.contains(quote))?;
        let inside = &self.rest()[quote.len_utf8()..];
        let end = inside.find(|c: char| OTHER.contains(&c) || matches!(c, '\'' | '\u{BB}'));
        Some(inside[..end.unwrap_or(inside.len())].trim())
    }

    /// The text that stands here, for the error message.
    fn found(&mut self) -> &'a str {
        let before = self.offset;
        let word = self.word();
        self.offset = before;
        self.peek();
        let rest = self.rest();
        let length = rest.chars().next().map_or(0, char::len_utf8);
        word.unwrap_or(if length == 0 {
            "the end"
        } else {
            &rest[..length]
        })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    /// Skips white space and returns the next character.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.offset += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(symbol);
        if found {
            self.offset += symbol.len_utf8();
        }
        found
    }

    fn expect(&mut self, symbol: char, message: &str) -> Result<(), ParseError> {
        if self.symbol(symbol) {
            Ok(())
        } else {
            self.fail(message)
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let before = self.offset;
        let found = self.word() == Some(keyword);
        if !found {
            self.offset = before;
        }
        found
    }

    fn word(&mut self) -> Option<&'a str> {
        self.peek();
        let rest = self.rest();
        let length = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.')))
            .unwrap_or(rest.len());
        self.offset += length;
        (length > 0).then(|| &rest[..length])
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        let position = self.text[..self.offset].chars().count() + 1;
        Err(ParseError {
            position,
            message: message.into(),
        })
    }

    /// Fails at the start of the word that was just read.
    fn fail_word<T>(&mut self, word: &str, message: impl Into<String>) -> Result<T, ParseError> {
        self.offset -= word.len();
        self.fail(message)
    }
}
