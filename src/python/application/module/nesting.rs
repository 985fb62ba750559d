//! [`nests_too_deeply`]: refuses source whose tree would exhaust the stack.

use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, lexer};

/// The deepest tree parsed, counted in tokens that can nest. Trees are dropped and visited by
/// recursion.
const MAX_DEPTH: usize = 4000;

/// Returns true if the tree of the text could be deeper than [`MAX_DEPTH`]: operators, calls and
/// brackets nest; a comma, a closing bracket or the end of a line ends the nesting.
pub(crate) fn nests_too_deeply(text: &str) -> bool {
    let mut lexer = lexer::lex(text, Mode::Module);
    // Tokens since the last comma in each open bracket, and `lambda`s, whose parameters have
    // commas.
    let mut open: Vec<(usize, usize)> = vec![(0, 0)];
    let (mut depth, mut indent) = (0_usize, 0_usize);
    loop {
        let kind = lexer.next_token();
        match kind {
            TokenKind::EndOfFile => return false,
            TokenKind::Indent => indent += 1,
            TokenKind::Dedent => indent = indent.saturating_sub(1),
            TokenKind::Lpar
            | TokenKind::Lsqb
            | TokenKind::Lbrace
            | TokenKind::FStringStart
            | TokenKind::TStringStart => {
                count(&mut open, &mut depth, 1, 0);
                open.push((0, 0));
            }
            TokenKind::Rpar
            | TokenKind::Rsqb
            | TokenKind::Rbrace
            | TokenKind::FStringEnd
            | TokenKind::TStringEnd
                if open.len() > 1 =>
            {
                let (tokens, lambdas) = open.pop().unwrap_or_default();
                depth = depth.saturating_sub(tokens + lambdas);
            }
            TokenKind::Newline | TokenKind::Semi if open.len() == 1 => {
                open = vec![(0, 0)];
                depth = 0;
            }
            TokenKind::Comma => {
                if let Some((tokens, _)) = open.last_mut() {
                    depth = depth.saturating_sub(*tokens);
                    *tokens = 0;
                }
            }
            TokenKind::Lambda => count(&mut open, &mut depth, 0, 1),
            // Adjacent strings form one.
            TokenKind::Comment
            | TokenKind::NonLogicalNewline
            | TokenKind::String
            | TokenKind::FStringMiddle => {}
            _ => count(&mut open, &mut depth, 1, 0),
        }
        if depth + indent > MAX_DEPTH {
            return true;
        }
    }
}

fn count(open: &mut [(usize, usize)], depth: &mut usize, tokens: usize, lambdas: usize) {
    if let Some(last) = open.last_mut() {
        last.0 += tokens;
        last.1 += lambdas;
    }
    *depth += tokens + lambdas;
}
