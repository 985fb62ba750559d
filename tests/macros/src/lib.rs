//! `#[test]` of `tests/it`: registers a function with the harness in `tests/it/support/harness.rs`.
//!
//! rustc's harness cannot report a running test as ignored, and tests detect missing tools only
//! when they run.

use proc_macro::{TokenStream, TokenTree};

/// Registers the function under its module path, with the reason of an `#[ignore = "…"]`, if any.
#[proc_macro_attribute]
pub fn test(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    let reason = take_ignore(&mut tokens).map_or("None".to_owned(), |reason| format!("Some({reason})"));
    let name = tokens
        .iter()
        .skip_while(|token| token.to_string() != "fn")
        .nth(1)
        .expect("`#[test]` stands before a function")
        .to_string();
    let registered: TokenStream = format!(
        "::inventory::submit! {{ crate::support::harness::Test {{ \
            module: module_path!(), name: \"{name}\", ignored: {reason}, run: {name} }} }}"
    )
    .parse()
    .expect("Rust");
    tokens.into_iter().chain(registered).collect()
}

/// Removes `#[ignore = "REASON"]` and returns the literal.
fn take_ignore(tokens: &mut Vec<TokenTree>) -> Option<String> {
    let at = (1..tokens.len()).find(|&at| {
        matches!(&tokens[at - 1], TokenTree::Punct(mark) if mark.as_char() == '#')
            && matches!(&tokens[at], TokenTree::Group(group)
                if group.stream().into_iter().next().is_some_and(|first| first.to_string() == "ignore"))
    })?;
    let TokenTree::Group(group) = tokens.remove(at) else { return None };
    tokens.remove(at - 1);
    group.stream().into_iter().nth(2).map(|reason| reason.to_string())
}
