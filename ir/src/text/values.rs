//! Tokens to names, numbers, lists and attributes.

use super::lexer::{Lexer, Token, TokenKind};
use crate::diagnostic::Diagnostic;
use crate::ops::{Attribute, AttributeReader, checked_n_elems};
use crate::tensor::TensorId;

/// The rest of the statement makes no sense; the reason has been reported.
#[derive(Debug)]
pub(super) struct Stop;

/// What is read, or [`Stop`].
pub(super) type Parsed<T> = Result<T, Stop>;

/// Looks a tensor up by name: `None` if there is none, `Some(None)` if its definition was wrong.
pub(super) type FindTensor<'f> = &'f dyn Fn(&str) -> Option<Option<TensorId>>;

/// More errors than this are rarely worth reading, and each costs a walk over the text.
const MAX_DIAGNOSTICS: usize = 20;

/// Reads from the text and collects what is wrong with it.
pub(super) struct Reader<'a> {
    source: &'a str,
    lexer: Lexer<'a>,
    token: Token<'a>,
    pub diagnostics: Vec<Diagnostic>,
}

/// An element of a tensor's list.
pub(super) trait ListValue: Sized {
    /// Reads one.
    fn read(reader: &mut Reader<'_>) -> Parsed<Self>;
}

impl ListValue for f32 {
    fn read(reader: &mut Reader<'_>) -> Parsed<Self> {
        reader.float()
    }
}

impl ListValue for u8 {
    fn read(reader: &mut Reader<'_>) -> Parsed<Self> {
        reader.integer("a level from 0 to 255")
    }
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a str) -> Self {
        let mut lexer = Lexer::new(source);
        let token = lexer.next();
        Self {
            source,
            lexer,
            token,
            diagnostics: Vec::new(),
        }
    }

    /// Where the next token starts.
    pub fn offset(&self) -> usize {
        self.token.at
    }

    /// Reports `diagnostic` at a byte offset.
    pub fn report(&mut self, at: usize, diagnostic: Diagnostic) {
        let before = &self.source[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.diagnostics
            .push(diagnostic.at_position(number(line), number(column)));
    }

    /// Reports an error at a byte offset.
    pub fn error(&mut self, at: usize, code: &'static str, message: String) {
        self.report(at, Diagnostic::error(code, message));
    }

    /// Reports an error and stops.
    pub fn fail<T>(&mut self, at: usize, code: &'static str, message: String) -> Parsed<T> {
        self.fail_with(at, Diagnostic::error(code, message))
    }

    /// Reports `diagnostic` and stops.
    pub fn fail_with<T>(&mut self, at: usize, diagnostic: Diagnostic) -> Parsed<T> {
        self.report(at, diagnostic);
        Err(Stop)
    }

    /// Reports that the next token is not what was `expected`.
    fn unexpected<T>(&mut self, expected: &str) -> Parsed<T> {
        let message = match &self.token.kind {
            TokenKind::Bad(reason) => reason.clone(),
            TokenKind::End => format!("expected {expected}, found the end of the text"),
            TokenKind::Word(found) | TokenKind::Number(found) => {
                format!("expected {expected}, found {found}")
            }
            TokenKind::Value(name) => format!("expected {expected}, found %{name}"),
            TokenKind::At(name) => format!("expected {expected}, found @{name}"),
            TokenKind::Text(text) => format!("expected {expected}, found {text:?}"),
            TokenKind::Punctuation(c) => format!("expected {expected}, found '{c}'"),
            TokenKind::Arrow => format!("expected {expected}, found ->"),
        };
        self.fail(self.token.at, "syntax-error", message)
    }

    fn advance(&mut self) -> Token<'a> {
        let next = self.lexer.next();
        std::mem::replace(&mut self.token, next)
    }

    /// Goes on behind the wrong statement that started at `start`: at the next line that starts one
    /// or closes the graph.
    pub fn skip_statement(&mut self, start: usize) -> Parsed<()> {
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            return Err(Stop);
        }
        loop {
            let can_start = match self.token.kind {
                TokenKind::End => return Err(Stop),
                TokenKind::Value(_) | TokenKind::Word("tensor") => true,
                TokenKind::Punctuation('}') => true,
                _ => false,
            };
            let line = self.source[..self.token.at]
                .rsplit('\n')
                .next()
                .unwrap_or_default();
            if can_start && self.token.at > start && line.trim().is_empty() {
                return Ok(());
            }
            self.advance();
        }
    }

    /// The text ends here.
    pub fn end(&mut self) -> Parsed<()> {
        match self.token.kind {
            TokenKind::End => Ok(()),
            _ => self.unexpected("the end of the text"),
        }
    }

    /// Takes `c` if it is next.
    pub fn accept(&mut self, c: char) -> bool {
        let is_next = self.token.kind == TokenKind::Punctuation(c);
        if is_next {
            self.advance();
        }
        is_next
    }

    /// Takes `word` if it is next.
    pub fn accept_word(&mut self, word: &str) -> bool {
        let is_next = self.token.kind == TokenKind::Word(word);
        if is_next {
            self.advance();
        }
        is_next
    }

    pub fn punctuation(&mut self, c: char) -> Parsed<()> {
        match self.accept(c) {
            true => Ok(()),
            false => self.unexpected(&format!("'{c}'")),
        }
    }

    /// A comma, unless `close` is next; that stays.
    pub fn separator(&mut self, close: char) -> Parsed<()> {
        match self.accept(',') || self.token.kind == TokenKind::Punctuation(close) {
            true => Ok(()),
            false => self.unexpected(&format!("',' or '{close}'")),
        }
    }

    pub fn arrow(&mut self) -> Parsed<()> {
        match self.token.kind {
            TokenKind::Arrow => {
                self.advance();
                Ok(())
            }
            _ => self.unexpected("->"),
        }
    }

    pub fn word(&mut self, word: &str) -> Parsed<()> {
        match self.accept_word(word) {
            true => Ok(()),
            false => self.unexpected(word),
        }
    }

    pub fn any_word(&mut self, expected: &str) -> Parsed<&'a str> {
        match self.token.kind {
            TokenKind::Word(word) => {
                self.advance();
                Ok(word)
            }
            _ => self.unexpected(expected),
        }
    }

    pub fn is_value_name(&self) -> bool {
        matches!(self.token.kind, TokenKind::Value(_))
    }

    /// `%name` and where it stands.
    pub fn value_name(&mut self) -> Parsed<(String, usize)> {
        match &self.token.kind {
            TokenKind::Value(name) => {
                let found = (name.to_string(), self.token.at);
                self.advance();
                Ok(found)
            }
            _ => self.unexpected("a value such as %x"),
        }
    }

    /// `@name` and where it stands.
    pub fn at_name(&mut self) -> Parsed<(String, usize)> {
        match &self.token.kind {
            TokenKind::At(name) => {
                let found = (name.to_string(), self.token.at);
                self.advance();
                Ok(found)
            }
            _ => self.unexpected("a name such as @w"),
        }
    }

    pub fn text(&mut self) -> Parsed<String> {
        match &self.token.kind {
            TokenKind::Text(text) => {
                let text = text.clone();
                self.advance();
                Ok(text)
            }
            _ => self.unexpected("a string"),
        }
    }

    pub fn integer<T: std::str::FromStr>(&mut self, expected: &str) -> Parsed<T> {
        let number = match self.token.kind {
            TokenKind::Number(number) => number.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => {
                self.advance();
                Ok(number)
            }
            None => self.unexpected(expected),
        }
    }

    pub fn float(&mut self) -> Parsed<f32> {
        let number = match self.token.kind {
            TokenKind::Word("inf") => Some(f32::INFINITY),
            TokenKind::Word("nan") => Some(f32::NAN),
            TokenKind::Number("-inf") => Some(f32::NEG_INFINITY),
            TokenKind::Number(number) => number.parse().ok().filter(|f: &f32| f.is_finite()),
            _ => None,
        };
        match number {
            Some(number) => {
                self.advance();
                Ok(number)
            }
            None => self.unexpected("an f32 number"),
        }
    }

    /// Items up to `close`, which is taken too; a comma may stand behind the last one.
    pub fn list<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.accept(close) {
            items.push(item(self)?);
            self.separator(close)?;
        }
        Ok(items)
    }

    /// `[2, 3]`
    pub fn sizes(&mut self) -> Parsed<Vec<usize>> {
        self.punctuation('[')?;
        self.list(']', |reader| reader.integer("a size"))
    }

    /// `f32[2, 3]`, small enough to exist.
    pub fn shape(&mut self) -> Parsed<Vec<usize>> {
        let at = self.offset();
        self.word("f32")?;
        let shape = self.sizes()?;
        match checked_n_elems(&shape) {
            Some(_) => Ok(shape),
            None => self.fail(
                at,
                "shape-mismatch",
                format!("shape {shape:?} is too large"),
            ),
        }
    }

    /// `name=value, marker, ..` up to `close`.
    pub fn attributes(&mut self, close: char, find: FindTensor<'_>) -> Parsed<AttributeReader> {
        let mut entries: Vec<(String, Attribute)> = Vec::new();
        // An attribute that names a wrongly defined tensor ends the statement, but in silence.
        let mut is_poisoned = false;
        while !self.accept(close) {
            let at = self.offset();
            let name = self.any_word("an attribute")?.to_string();
            let value = match self.accept('=') {
                true => self.attribute_value(find)?,
                false => Some(Attribute::Flag),
            };
            self.separator(close)?;
            if entries.iter().any(|(other, _)| *other == name) {
                return self.fail(
                    at,
                    "bad-attribute",
                    format!("attribute {name} is given twice"),
                );
            }
            match value {
                Some(value) => entries.push((name, value)),
                None => is_poisoned = true,
            }
        }
        match is_poisoned {
            true => Err(Stop),
            false => Ok(AttributeReader::new(entries)),
        }
    }

    /// `None` for a tensor whose definition was wrong.
    fn attribute_value(&mut self, find: FindTensor<'_>) -> Parsed<Option<Attribute>> {
        match self.token.kind.clone() {
            TokenKind::At(name) => {
                let at = self.advance().at;
                match find(&name) {
                    Some(id) => Ok(id.map(Attribute::Tensor)),
                    None => {
                        let message = format!("tensor @{name} is not defined above");
                        self.fail(at, "unknown-tensor", message)
                    }
                }
            }
            TokenKind::Number(number) if is_integer(number) => self
                .integer("a 64-bit integer")
                .map(|value| Some(Attribute::Int(value))),
            TokenKind::Number(_) | TokenKind::Word("inf" | "nan") => {
                self.float().map(|value| Some(Attribute::Float(value)))
            }
            TokenKind::Word(word) => {
                self.advance();
                match self.accept('(') {
                    true => {
                        let arguments = self.list(')', Self::float)?;
                        Ok(Some(Attribute::Call(word.to_string(), arguments)))
                    }
                    false => Ok(Some(Attribute::Word(word.to_string()))),
                }
            }
            TokenKind::Punctuation('[') => {
                self.advance();
                let mut integers = Some(Vec::new());
                let floats = self.list(']', |reader| {
                    let integer = match reader.token.kind {
                        TokenKind::Number(number) if is_integer(number) => number.parse().ok(),
                        _ => None,
                    };
                    integers = integers.take().zip(integer).map(|(mut list, integer)| {
                        list.push(integer);
                        list
                    });
                    reader.float()
                })?;
                Ok(Some(match integers {
                    Some(integers) => Attribute::Ints(integers),
                    None => Attribute::Floats(floats),
                }))
            }
            _ => self.unexpected("a value of the attribute"),
        }
    }
}

fn is_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E']) && number != "-inf"
}
