//! The grammar of the shell language, without what no maintainer script uses. Malformed text ends early.

use std::rc::Rc;

use super::lexer::{ScriptToken, ScriptWord};

/// A command.
#[derive(Debug, Clone)]
pub(super) enum ScriptNode {
    Simple(SimpleCommand),
    Group(Vec<ScriptNode>),
    Pipeline(Vec<ScriptNode>),
    Not(Box<ScriptNode>),
    AndOr(Box<ScriptNode>, Vec<(AndOr, ScriptNode)>),
    If { branches: Vec<(Vec<ScriptNode>, Vec<ScriptNode>)>, otherwise: Vec<ScriptNode> },
    Case { word: ScriptWord, arms: Vec<(Vec<String>, Vec<ScriptNode>)> },
    For { variable: String, words: Vec<ScriptWord>, body: Vec<ScriptNode> },
    Loop { condition: Vec<ScriptNode>, body: Vec<ScriptNode> },
    Function { name: String, body: Rc<[ScriptNode]> },
}

/// An operator between the commands of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AndOr {
    And,
    Or,
}

/// A simple command.
#[derive(Debug, Clone, Default)]
pub(super) struct SimpleCommand {
    pub(super) assignments: Vec<(String, ScriptWord)>,
    pub(super) words: Vec<ScriptWord>,
    pub(super) writes: bool,
}

/// The deepest nesting.
const DEPTH_LIMIT: usize = 64;

/// Parses a script.
pub(super) fn parse(tokens: &[ScriptToken]) -> Vec<ScriptNode> {
    let mut parser = Parser { tokens, depth: 0 };
    let mut nodes = Vec::new();
    while !parser.tokens.is_empty() {
        nodes.extend(parser.list(&[]));
        // A stray keyword or operator.
        parser.skip();
    }
    nodes
}

struct Parser<'a> {
    tokens: &'a [ScriptToken],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.tokens = self.tokens.get(1..).unwrap_or_default();
    }

    fn keyword(&self) -> Option<&'a str> {
        match self.tokens.first()? {
            ScriptToken::Word(word) => word.keyword(),
            _ => None,
        }
    }

    fn operator(&self) -> Option<&'static str> {
        match self.tokens.first()? {
            ScriptToken::Operator(operator) => Some(operator),
            _ => None,
        }
    }

    fn eat_keyword(&mut self, name: &str) -> bool {
        let found = self.keyword() == Some(name);
        if found {
            self.skip();
        }
        found
    }

    fn eat_operator(&mut self, name: &str) -> bool {
        let found = self.operator() == Some(name);
        if found {
            self.skip();
        }
        found
    }

    fn skip_newlines(&mut self) {
        while matches!(self.operator(), Some("\n" | ";" | "&")) {
            self.skip();
        }
    }

    fn take_word(&mut self) -> Option<ScriptWord> {
        let Some(ScriptToken::Word(word)) = self.tokens.first() else { return None };
        self.skip();
        Some(word.clone())
    }

    /// Parses commands up to one of the keywords `ends`, `;;` or `)`.
    fn list(&mut self, ends: &[&str]) -> Vec<ScriptNode> {
        let mut nodes = Vec::new();
        self.depth += 1;
        while self.depth < DEPTH_LIMIT {
            self.skip_newlines();
            let is_end = self.keyword().is_some_and(|word| ends.contains(&word));
            if is_end || self.tokens.is_empty() || matches!(self.operator(), Some(";;" | ")")) {
                break;
            }
            let before = self.tokens.len();
            nodes.extend(self.and_or());
            if self.tokens.len() == before {
                self.skip();
            }
        }
        self.depth -= 1;
        nodes
    }

    fn and_or(&mut self) -> Option<ScriptNode> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.operator() {
                Some("&&") => AndOr::And,
                Some("||") => AndOr::Or,
                _ => break,
            };
            self.skip();
            while self.eat_operator("\n") {}
            let Some(next) = self.pipeline() else { break };
            rest.push((operator, next));
        }
        Some(if rest.is_empty() { first } else { ScriptNode::AndOr(Box::new(first), rest) })
    }

    fn pipeline(&mut self) -> Option<ScriptNode> {
        let mut is_negated = false;
        while self.eat_keyword("!") {
            is_negated = !is_negated;
        }
        let mut node = self.command()?;
        if self.operator() == Some("|") {
            let mut nodes = vec![node];
            while self.eat_operator("|") {
                while self.eat_operator("\n") {}
                nodes.extend(self.command());
            }
            node = ScriptNode::Pipeline(nodes);
        }
        Some(if is_negated { ScriptNode::Not(Box::new(node)) } else { node })
    }

    fn command(&mut self) -> Option<ScriptNode> {
        if self.depth >= DEPTH_LIMIT {
            return None;
        }
        if self.eat_operator("(") {
            let body = self.list(&[]);
            let _ = self.eat_operator(")");
            self.redirects();
            return Some(ScriptNode::Group(body));
        }
        let node = match self.keyword() {
            Some("if") => self.conditional(),
            Some("case") => self.case()?,
            Some("for") => self.for_loop()?,
            Some("while" | "until") => {
                self.skip();
                let condition = self.list(&["do"]);
                ScriptNode::Loop { condition, body: self.body() }
            }
            Some("{") => {
                self.skip();
                let body = self.list(&["}"]);
                let _ = self.eat_keyword("}");
                ScriptNode::Group(body)
            }
            _ => return self.simple(),
        };
        self.redirects();
        Some(node)
    }

    fn conditional(&mut self) -> ScriptNode {
        let (mut branches, mut otherwise) = (Vec::new(), Vec::new());
        while self.eat_keyword("if") || self.eat_keyword("elif") {
            let condition = self.list(&["then"]);
            let _ = self.eat_keyword("then");
            branches.push((condition, self.list(&["elif", "else", "fi"])));
            if self.keyword() != Some("elif") {
                break;
            }
        }
        if self.eat_keyword("else") {
            otherwise = self.list(&["fi"]);
        }
        let _ = self.eat_keyword("fi");
        ScriptNode::If { branches, otherwise }
    }

    fn case(&mut self) -> Option<ScriptNode> {
        self.skip();
        let word = self.take_word()?;
        self.skip_newlines();
        let _ = self.eat_keyword("in");
        let mut arms = Vec::new();
        loop {
            self.skip_newlines();
            if self.tokens.is_empty() || self.eat_keyword("esac") {
                return Some(ScriptNode::Case { word, arms });
            }
            let _ = self.eat_operator("(");
            let mut patterns = Vec::new();
            while let Some(pattern) = self.take_word() {
                patterns.extend(pattern.value(&std::collections::BTreeMap::new()));
                if !self.eat_operator("|") {
                    break;
                }
            }
            if !self.eat_operator(")") {
                return Some(ScriptNode::Case { word, arms });
            }
            arms.push((patterns, self.list(&["esac"])));
            let _ = self.eat_operator(";;");
        }
    }

    fn for_loop(&mut self) -> Option<ScriptNode> {
        self.skip();
        let variable = self.take_word()?.keyword()?.to_owned();
        let mut words = Vec::new();
        if self.eat_keyword("in") {
            while let Some(word) = self.take_word() {
                words.push(word);
            }
        }
        self.skip_newlines();
        Some(ScriptNode::For { variable, words, body: self.body() })
    }

    fn body(&mut self) -> Vec<ScriptNode> {
        let _ = self.eat_keyword("do");
        let body = self.list(&["done"]);
        let _ = self.eat_keyword("done");
        body
    }

    /// Reads redirections after a compound command.
    fn redirects(&mut self) {
        while matches!(self.tokens.first(), Some(ScriptToken::Redirect { .. })) {
            self.skip();
            let _ = self.take_word();
        }
    }

    fn simple(&mut self) -> Option<ScriptNode> {
        let mut command = SimpleCommand::default();
        loop {
            match self.tokens.first() {
                Some(ScriptToken::Word(word)) => {
                    self.skip();
                    match word.assignment().filter(|_| command.words.is_empty()) {
                        Some(assignment) => command.assignments.push(assignment),
                        None => command.words.push(word.clone()),
                    }
                }
                Some(ScriptToken::Redirect { writes }) => {
                    self.skip();
                    let target = self.take_word();
                    let target = target.as_ref().and_then(ScriptWord::keyword);
                    command.writes |= *writes && target != Some("/dev/null");
                }
                _ => break,
            }
            let is_function = command.words.len() == 1 && self.operator() == Some("(");
            if is_function && self.tokens.get(1) == Some(&ScriptToken::Operator(")")) {
                let name = command.words.first()?.keyword()?.to_owned();
                self.skip();
                self.skip();
                self.skip_newlines();
                self.depth += 1;
                let body = self.command().into_iter().collect();
                self.depth -= 1;
                return Some(ScriptNode::Function { name, body });
            }
        }
        let is_empty = command.words.is_empty() && command.assignments.is_empty() && !command.writes;
        (!is_empty).then_some(ScriptNode::Simple(command))
    }
}
