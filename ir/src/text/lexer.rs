//! Characters to tokens.

use std::borrow::Cow;

/// The smallest parts of the text form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind<'a> {
    /// `graph`, `relu`, `f32`
    Word(&'a str),
    /// `%x`, without the sign
    Value(Cow<'a, str>),
    /// `@fc`, without the sign
    At(Cow<'a, str>),
    /// `12`, `-0.5`, `1e-7`, `-inf`
    Number(&'a str),
    /// `"full"`, without the quotes
    Text(String),
    /// One of `( ) { } [ ] , : =`
    Punctuation(char),
    /// `->`
    Arrow,
    /// Nothing is left.
    End,
    /// Not a token; the reason.
    Bad(String),
}

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub kind: TokenKind<'a>,
    /// Byte offset in the source.
    pub at: usize,
}

/// Yields tokens until [`TokenKind::End`], which it repeats.
pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Characters that a name may have without quotes.
pub(super) fn is_name(c: char) -> bool {
    is_word(c) || matches!(c, '.' | '/' | '-')
}

impl<'a> Lexer<'a> {
    pub fn new(source: &'a str) -> Self {
        Self { source, at: 0 }
    }

    pub fn next(&mut self) -> Token<'a> {
        self.skip_blanks();
        let at = self.at;
        let kind = match self.rest().chars().next() {
            None => TokenKind::End,
            Some('%') => self.name(TokenKind::Value),
            Some('@') => self.name(TokenKind::At),
            Some('"') => match self.text() {
                Ok(text) => TokenKind::Text(text),
                Err(reason) => TokenKind::Bad(reason),
            },
            Some('-') if self.rest().starts_with("->") => {
                self.at += 2;
                TokenKind::Arrow
            }
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(),
            Some(c) if is_word(c) => TokenKind::Word(self.take_while(is_word)),
            Some(c @ ('(' | ')' | '{' | '}' | '[' | ']' | ',' | ':' | '=')) => {
                self.at += 1;
                TokenKind::Punctuation(c)
            }
            Some(c) => {
                self.at += c.len_utf8();
                TokenKind::Bad(format!("unexpected character {c:?}"))
            }
        };
        Token { kind, at }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with(';') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn name(&mut self, kind: impl Fn(Cow<'a, str>) -> TokenKind<'a>) -> TokenKind<'a> {
        self.at += 1;
        if self.rest().starts_with('"') {
            return match self.text() {
                Ok(text) => kind(Cow::Owned(text)),
                Err(reason) => TokenKind::Bad(reason),
            };
        }
        match self.take_while(is_name) {
            "" => TokenKind::Bad("expected a name".into()),
            name => kind(Cow::Borrowed(name)),
        }
    }

    fn number(&mut self) -> TokenKind<'a> {
        let start = self.at;
        self.at += 1;
        // An exponent's sign belongs to the number: `1e-7`.
        loop {
            self.take_while(|c| is_word(c) || c == '.');
            let digits = &self.source[start..self.at];
            let in_exponent = digits.ends_with(['e', 'E']);
            if !(in_exponent && self.rest().starts_with(['-', '+'])) {
                break;
            }
            self.at += 1;
        }
        let text = &self.source[start..self.at];
        match text.parse::<f32>() {
            Ok(_) => TokenKind::Number(text),
            Err(_) => TokenKind::Bad(format!("{text} is not a number")),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.rest().chars().next().filter(|&c| c != '\n') else {
                return Err("the string has no closing quote on its line".into());
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let rest = self.rest();
        let c = rest.chars().next().unwrap_or('\n');
        let plain = match c {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            '"' | '\\' => c,
            'u' => {
                let code = rest[1..]
                    .strip_prefix('{')
                    .and_then(|code| code.split_once('}'))
                    .map(|(code, _)| code);
                let c = code
                    .and_then(|code| u32::from_str_radix(code, 16).ok())
                    .and_then(char::from_u32);
                let (Some(code), Some(c)) = (code, c) else {
                    return Err("expected \\u{..} with a character's number".into());
                };
                self.at += "u{}".len() + code.len();
                return Ok(c);
            }
            _ => return Err(format!("unknown escape {:?}", format!("\\{c}"))),
        };
        self.at += 1;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<TokenKind<'_>> {
        let mut lexer = Lexer::new(source);
        let next = || Some(lexer.next().kind).filter(|kind| *kind != TokenKind::End);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn every_kind() {
        use TokenKind::*;
        assert_eq!(
            kinds("%y = conv2d %\"a b\" {w=@l.0/w-1} ; rest -> \"\n-> -1e-7 \"\\u{e9}\\n\""),
            [
                Value("y".into()),
                Punctuation('='),
                Word("conv2d"),
                Value("a b".into()),
                Punctuation('{'),
                Word("w"),
                Punctuation('='),
                At("l.0/w-1".into()),
                Punctuation('}'),
                Arrow,
                Number("-1e-7"),
                Text("é\n".into()),
            ]
        );
        assert_eq!(kinds("-inf 1.5e+3"), [Number("-inf"), Number("1.5e+3")]);
    }

    #[test]
    fn bad_tokens_end() {
        for source in [
            "%",
            "\"a",
            "\"a\nb\"",
            "\"\\q\"",
            "\"\\u{110000}\"",
            "1.2.3",
            "-",
            "é",
            "\\",
        ] {
            let kinds = kinds(source);
            assert!(
                kinds.iter().any(|kind| matches!(kind, TokenKind::Bad(_))),
                "{source}: {kinds:?}"
            );
        }
    }
}
