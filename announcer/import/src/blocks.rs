//! Options in blocks with braces, as ExaBGP, BIRD and keepalived have them.

use std::rc::Rc;

use crate::node::{Node, Place};
use crate::{ImportError, Input};

/// The deepest nesting of blocks. None of the systems has more than six levels.
const DEEPEST: usize = 20;

/// What ends an option that has no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A semicolon: ExaBGP and BIRD.
    Semicolon,
    /// The end of the line: keepalived.
    Line,
}

/// A word of the text, or one of the characters that structure it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Reads a file.
pub(crate) fn parse(input: &Input, end: End) -> Result<Vec<Node>, ImportError> {
    let file: Rc<str> = input.name.as_str().into();
    let at = |line| Place { file: file.clone(), line };
    let wrong = |line, text: &str| ImportError::Syntax { place: at(line), text: text.to_owned() };
    let tokens = tokens(&input.text, end).map_err(|(line, text)| wrong(line, text))?;
    // The open blocks, each with the option that it belongs to.
    let mut open: Vec<(Node, Vec<Node>)> = Vec::new();
    let mut nodes: Vec<Node> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut began = 1;
    for (line, token) in tokens {
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    began = line;
                }
                words.push(word);
            }
            Token::Open => {
                let option = match node(&mut words, at(began)) {
                    Some(option) => option,
                    // The brace is on a line of its own.
                    None => match nodes.pop() {
                        Some(last) if end == End::Line && last.children.is_none() => last,
                        _ => return Err(wrong(line, "`{` without a name before it")),
                    },
                };
                if open.len() >= DEEPEST {
                    return Err(wrong(line, "too many blocks in each other"));
                }
                open.push((option, std::mem::take(&mut nodes)));
            }
            Token::Close => {
                nodes.extend(node(&mut words, at(began)));
                let (mut option, before) = open.pop().ok_or_else(|| wrong(line, "`}` without `{`"))?;
                option.children = Some(std::mem::replace(&mut nodes, before));
                nodes.push(option);
            }
            Token::End => nodes.extend(node(&mut words, at(began))),
        }
    }
    if let Some((option, _)) = open.last() {
        return Err(wrong(option.place.line, &format!("the block `{}` has no `}}`", option.name)));
    }
    nodes.extend(node(&mut words, at(began)));
    Ok(nodes)
}

/// An option made of the words so far.
fn node(words: &mut Vec<String>, place: Place) -> Option<Node> {
    let mut all = std::mem::take(words).into_iter();
    let name = all.next()?;
    Some(Node { name, words: all.collect(), place, children: None })
}

/// The tokens with their lines.
fn tokens(text: &str, end: End) -> Result<Vec<(usize, Token)>, (usize, &'static str)> {
    let mut tokens = Vec::new();
    let mut word: Option<(usize, String)> = None;
    let mut line = 1;
    let mut rest = text.chars().peekable();
    let finish = |word: &mut Option<(usize, String)>, tokens: &mut Vec<(usize, Token)>| {
        if let Some((line, word)) = word.take() {
            tokens.push((line, Token::Word(word)));
        }
    };
    while let Some(c) = rest.next() {
        match c {
            '\n' => {
                finish(&mut word, &mut tokens);
                if end == End::Line {
                    tokens.push((line, Token::End));
                }
                line += 1;
            }
            c if c.is_whitespace() => finish(&mut word, &mut tokens),
            '#' if end == End::Line || word.is_none() => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            '!' if end == End::Line && word.is_none() => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            '/' if end == End::Semicolon && word.is_none() && rest.peek() == Some(&'*') => {
                let began = line;
                let mut last = ' ';
                loop {
                    match rest.next() {
                        Some('/') if last == '*' => break,
                        Some(c) => {
                            line += usize::from(c == '\n');
                            last = c;
                        }
                        None => return Err((began, "the comment has no end")),
                    }
                }
            }
            '{' | '}' => {
                finish(&mut word, &mut tokens);
                tokens.push((line, if c == '{' { Token::Open } else { Token::Close }));
            }
            ';' if end == End::Semicolon => {
                finish(&mut word, &mut tokens);
                tokens.push((line, Token::End));
            }
            // A backslash before the end of a line continues it.
            '\\' if rest.peek() == Some(&'\n') => {
                rest.next();
                line += 1;
                finish(&mut word, &mut tokens);
            }
            '"' | '\'' => {
                let began = line;
                let (_, into) = word.get_or_insert_with(|| (began, String::new()));
                loop {
                    match rest.next() {
                        Some('\\') if rest.peek() == Some(&c) => into.extend(rest.next()),
                        Some(quoted) if quoted == c => break,
                        Some(quoted) => {
                            line += usize::from(quoted == '\n');
                            into.push(quoted);
                        }
                        None => return Err((began, "the quoted text has no end")),
                    }
                }
            }
            c => word.get_or_insert_with(|| (line, String::new())).1.push(c),
        }
    }
    finish(&mut word, &mut tokens);
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, end: End) -> String {
        fn show(nodes: &[Node], into: &mut String) {
            for node in nodes {
                into.push_str(&format!("{}:{}", node.place.line, node.name));
                node.words.iter().for_each(|word| into.push_str(&format!(" <{word}>")));
                if let Some(children) = &node.children {
                    into.push_str(" {");
                    show(children, into);
                    into.push('}');
                }
                into.push(';');
            }
        }
        match parse(&Input { name: "f".into(), text: text.into() }, end) {
            Ok(nodes) => {
                let mut text = String::new();
                show(&nodes, &mut text);
                text
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_syntax_is_read_with_its_lines() {
        for (end, text, want) in [
            (End::Semicolon, "a b c; d { e 1; # no\n f; }", "1:a <b> <c>;1:d {1:e <1>;2:f;};"),
            (
                End::Semicolon,
                "run x --cmd \"a; b {c}\" --n='1 2';",
                "1:run <x> <--cmd> <a; b {c}> <--n=1 2>;",
            ),
            (End::Semicolon, "a http://x/#y; /* b; \n */ c;", "1:a <http://x/#y>;2:c;"),
            (End::Line, "a b {\n c d ! no\n e\n}\n", "1:a <b> {2:c <d>;3:e;};"),
            (End::Line, "a\n{\n b\n}", "1:a {3:b;};"),
            (End::Line, "a \\\n b\nc", "1:a <b>;3:c;"),
            (End::Line, "s \"x \\\"y\\\" z\"", "1:s <x \"y\" z>;"),
            (End::Semicolon, "\na {", "f:2: the block `a` has no `}`"),
            (End::Semicolon, "a;\n}", "f:2: `}` without `{`"),
            (End::Semicolon, "{", "f:1: `{` without a name before it"),
            (End::Line, "a\nb 'c", "f:2: the quoted text has no end"),
            (End::Semicolon, "\n/* x", "f:2: the comment has no end"),
        ] {
            assert_eq!(shown(text, end), want, "{text}");
        }
        assert_eq!(shown(&"a {".repeat(30), End::Line), "f:1: too many blocks in each other");
    }
}
