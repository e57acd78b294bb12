//! A small Rust lexer: tokens with their lines, and comments apart from them.
//!
//! Input: the text of one file.   Output: `Lexed`, complete, never an error: text that is not
//! Rust yields odd tokens, and the compiler says the rest.
//! Invariants: no word of a comment, string, raw string or char literal becomes an `Ident`; a
//! token carries the line on which it starts.
//! Not here: what tokens mean; that is `source` and the rules.

/// What a token is. Punctuation is one char each, save `::`, which is one token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A name or keyword; a raw identifier without its `r#`.
    Ident,
    /// One char of punctuation, or `::`.
    Punct,
    /// Any string literal; the text is what stands between the quotes, escapes untouched.
    Str,
    /// A char or byte literal.
    Char,
    /// A lifetime or label.
    Lifetime,
    /// A number with its suffix.
    Number,
}

/// One token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
    /// Line of its first char, from 1.
    pub line: usize,
}

impl Token {
    /// True for the name or punctuation `text`, never for a literal of the same letters.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Ident | Kind::Punct) && self.text == text
    }
}

/// One line of comment, with its slashes or stars.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    /// Line it stands on, from 1.
    pub line: usize,
    /// Its text on that line.
    pub text: String,
}

/// A file taken apart.
#[derive(Default)]
pub struct Lexed {
    /// Everything the compiler reads.
    pub tokens: Vec<Token>,
    /// Everything it does not, a block comment split into its lines.
    pub comments: Vec<Comment>,
}

/// Takes `text` apart.
pub fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, out: Lexed::default() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Lexed,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        // NUL stands for "past the end": it starts no token that goes on.
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn bump(&mut self) -> char {
        let c = self.peek(0);
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        c
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.out.tokens.push(Token { kind, text, line });
    }

    fn step(&mut self) {
        let (c, next, line) = (self.peek(0), self.peek(1), self.line);
        match c {
            '/' if next == '/' => self.line_comment(),
            '/' if next == '*' => self.block_comment(),
            '"' => self.string(),
            '\'' => self.quote(),
            _ if is_ident_start(c) => self.word(),
            _ if c.is_ascii_digit() => self.number(),
            _ if c.is_whitespace() => {
                self.bump();
            }
            ':' if next == ':' => {
                self.at += 2;
                self.push(Kind::Punct, "::".to_owned(), line);
            }
            _ => {
                self.bump();
                self.push(Kind::Punct, c.to_string(), line);
            }
        }
    }

    fn line_comment(&mut self) {
        let mut text = String::new();
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            text.push(self.bump());
        }
        self.out.comments.push(Comment { line: self.line, text });
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        let mut text = String::new();
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    text.push(self.bump());
                }
                ('*', '/') => {
                    depth -= 1;
                    text.push(self.bump());
                }
                ('\n', _) => {
                    let whole = std::mem::take(&mut text);
                    self.out.comments.push(Comment { line: self.line, text: whole });
                    self.bump();
                    continue;
                }
                _ => {}
            }
            text.push(self.bump());
            if depth == 0 {
                break;
            }
        }
        self.out.comments.push(Comment { line: self.line, text });
    }

    /// A string literal with escapes, from its opening quote.
    fn string(&mut self) {
        let line = self.line;
        let mut text = String::new();
        self.bump();
        while self.at < self.chars.len() {
            match self.bump() {
                '"' => break,
                '\\' => {
                    text.push('\\');
                    text.push(self.bump());
                }
                c => text.push(c),
            }
        }
        self.push(Kind::Str, text, line);
    }

    /// A raw string literal, from its first `#` or quote.
    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        let mut text = String::new();
        self.at += hashes + 1;
        while self.at < self.chars.len() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
            if closes {
                self.at += hashes + 1;
                break;
            }
            text.push(self.bump());
        }
        self.push(Kind::Str, text, line);
    }

    /// A char literal or a lifetime, from its quote.
    fn quote(&mut self) {
        let line = self.line;
        let mut text = String::new();
        self.bump();
        if self.peek(0) != '\\' && self.peek(1) != '\'' {
            while is_ident_part(self.peek(0)) {
                text.push(self.bump());
            }
            self.push(Kind::Lifetime, text, line);
            return;
        }
        if self.peek(0) == '\\' {
            text.push(self.bump());
        }
        // The first char is taken whatever it is: it may be an escaped quote.
        text.push(self.bump());
        while self.at < self.chars.len() && self.peek(0) != '\'' {
            text.push(self.bump());
        }
        self.bump();
        self.push(Kind::Char, text, line);
    }

    /// A name, or the literal whose prefix it turns out to be.
    fn word(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while is_ident_part(self.peek(0)) {
            text.push(self.bump());
        }
        let hashes = (0..).take_while(|&ahead| self.peek(ahead) == '#').count();
        match text.as_str() {
            "r" | "br" | "cr" if self.peek(hashes) == '"' => self.raw_string(hashes),
            "r" if hashes == 1 && is_ident_start(self.peek(1)) => {
                self.bump();
                self.word();
            }
            "b" | "c" if self.peek(0) == '"' => self.string(),
            "b" if self.peek(0) == '\'' => self.quote(),
            _ => self.push(Kind::Ident, text, line),
        }
    }

    fn number(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while is_ident_part(self.peek(0)) || (self.peek(0) == '.' && self.peek(1).is_ascii_digit())
        {
            text.push(self.bump());
        }
        self.push(Kind::Number, text, line);
    }
}

fn is_ident_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_ident_part(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn idents(text: &str) -> Vec<String> {
    let tokens = lex(text).tokens.into_iter();
    tokens.filter(|token| token.kind == Kind::Ident).map(|token| token.text).collect()
}

#[test]
fn comments_and_literals_hide_their_words() {
    for (text, expected) in [
        ("a // unsafe\nb", "a b"),
        ("a /* x /* unsafe */ y */ b", "a b"),
        (r#"a "unsafe \" \\" b"#, "a b"),
        (r#"a b"unsafe" c"unsafe" d"#, "a d"),
        ("a r\"unsafe\\\" b", "a b"),
        ("a r##\"x \"# unsafe\"## b br#\"unsafe\"# c", "a b c"),
        ("a '\"' b '\\'' c '\\\\' d b'x' e '\\u{41}' f", "a b c d e f"),
        ("fn f<'a>(x: &'a str) {}", "fn f x str"),
        ("'outer: loop {}", "loop"),
        ("r#type bra rc", "type bra rc"),
        ("0..n 1.5e3_f64 0xff_u8", "n"),
        ("a \"unterminated", "a"),
        ("a /* unterminated", "a"),
    ] {
        assert_eq!(idents(text).join(" "), expected, "{text}");
    }
}

#[test]
fn lines_survive_what_spans_them() {
    let lexed = lex("a\n/* 1\n2 */ b \"x\ny\" c\n// end");
    let lines: Vec<usize> = lexed.tokens.iter().map(|token| token.line).collect();
    assert_eq!(lines, [1, 3, 3, 4]);
    let comments: Vec<(usize, &str)> =
        lexed.comments.iter().map(|comment| (comment.line, comment.text.as_str())).collect();
    assert_eq!(comments, [(2, "/* 1"), (3, "2 */"), (5, "// end")]);
}
