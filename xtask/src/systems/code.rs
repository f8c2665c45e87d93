//! Finds names in a file's code, with the `cfg`s around them.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree};

use super::cfg::{self, Cfg};
use super::names::Name;

/// A module in a file of its own.
#[derive(Debug)]
pub(super) struct Module {
    /// Its path below the file that declares it.
    pub(super) path: std::path::PathBuf,
    pub(super) behind: Vec<Cfg>,
}

/// What a file uses and declares.
#[derive(Debug)]
pub(super) struct Code<'a> {
    names: &'a [Name],
    /// The conditions around the present place. Each node adds its own at the end, and removes them.
    behind: Vec<Cfg>,
    /// The inline modules around the present place.
    inside: Vec<String>,
    /// Uses of a name on systems without it: the line and the reason.
    pub(super) findings: Vec<String>,
    pub(super) modules: Vec<Module>,
    failed: Option<anyhow::Error>,
}

impl<'a> Code<'a> {
    /// # Errors
    /// If the text is no Rust, or has a `cfg` of an unknown form.
    pub(super) fn read(text: &str, behind: &[Cfg], names: &'a [Name]) -> Result<Self> {
        let file = syn::parse_file(text)
            .map_err(|error| anyhow!("line {}: {error}", error.span().start().line))?;
        let mut code = Self {
            names,
            behind: behind.to_vec(),
            inside: Vec::new(),
            findings: Vec::new(),
            modules: Vec::new(),
            failed: None,
        };
        code.visit_file(&file);
        match code.failed.take() {
            Some(error) => Err(error),
            None => Ok(code),
        }
    }

    /// Visits a node. Its attributes come first, and their conditions end with it.
    fn scoped(&mut self, visit: impl FnOnce(&mut Self)) {
        let outside = self.behind.len();
        visit(self);
        self.behind.truncate(outside);
    }

    fn note(&mut self, line: usize, is: impl Fn(&str) -> bool) {
        let Self { names, behind, findings, .. } = self;
        for name in names.iter().filter(|name| is(&name.text)) {
            let lacks = |system: &&cfg::System| {
                behind.iter().all(|cfg| cfg.may_hold(system)) && !name.on.may_hold(system)
            };
            let systems: Vec<_> = cfg::ALL.iter().filter(lacks).map(|one| one.name).collect();
            if !systems.is_empty() {
                let (text, reason, systems) = (&name.text, name.reason, systems.join(", "));
                findings.push(format!("{line}: {text} is {reason}; not on {systems}"));
            }
        }
    }

    fn note_path(&mut self, path: &[&Ident]) {
        let Some(first) = path.first() else { return };
        let parts: Vec<String> = path.iter().map(|part| part.to_string()).collect();
        let pairs: Vec<String> = parts.windows(2).map(|pair| pair.join("::")).collect();
        self.note(first.span().start().line, |name| {
            parts.iter().any(|part| part == name) || pairs.iter().any(|pair| pair == name)
        });
    }

    fn note_text(&mut self, line: usize, text: &str) {
        self.note(line, |name| {
            name.strip_prefix("file:").is_some_and(|path| text.starts_with(path))
        });
    }

    fn note_use<'b>(&mut self, before: &mut Vec<&'b Ident>, tree: &'b UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(&path.ident);
                self.note_use(before, &path.tree);
                before.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|one| self.note_use(before, one));
            }
            UseTree::Name(name) => {
                self.note_path(&[before.as_slice(), &[&name.ident]].concat());
            }
            UseTree::Rename(name) => {
                self.note_path(&[before.as_slice(), &[&name.ident]].concat());
            }
            UseTree::Glob(_) => self.note_path(before),
        }
    }

    /// The tokens of a macro's call, whose grammar is its own. A condition lasts until the end of
    /// what follows it: a comma, a semicolon, or a block.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let outside = self.behind.len();
        let mut tokens = tokens.into_iter().peekable();
        let mut path: Vec<Ident> = Vec::new();
        let mut colons = 0;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.note_path(&path.iter().collect::<Vec<_>>());
                        path.clear();
                    }
                    path.push(ident);
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                other => {
                    self.note_path(&path.iter().collect::<Vec<_>>());
                    path.clear();
                    colons = 0;
                    match other {
                        TokenTree::Punct(punct) if matches!(punct.as_char(), ',' | ';') => {
                            self.behind.truncate(outside);
                        }
                        TokenTree::Punct(punct) if punct.as_char() == '#' => {
                            if let Some(TokenTree::Group(group)) = tokens.peek()
                                && group.delimiter() == Delimiter::Bracket
                                && let Ok(meta) = syn::parse2::<syn::Meta>(group.stream())
                                && meta.path().is_ident("cfg")
                            {
                                self.add(&meta);
                                tokens.next();
                            }
                        }
                        TokenTree::Group(group) => {
                            self.note_tokens(group.stream());
                            // The braces of a pattern come before an arrow.
                            let is_arrow = |next: &TokenTree| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '=');
                            if group.delimiter() == Delimiter::Brace
                                && !tokens.peek().is_some_and(is_arrow)
                            {
                                self.behind.truncate(outside);
                            }
                        }
                        TokenTree::Literal(literal) => {
                            let line = literal.span().start().line;
                            let text = literal.to_string();
                            self.note_text(line, text.trim_start_matches('"'));
                        }
                        _ => {}
                    }
                }
            }
        }
        self.note_path(&path.iter().collect::<Vec<_>>());
        self.behind.truncate(outside);
    }

    fn add(&mut self, meta: &syn::Meta) {
        match Cfg::of(meta) {
            Ok(cfg) => self.behind.push(cfg),
            Err(error) => self.failed = Some(error),
        }
    }
}

/// Visits these nodes with conditions of their own.
macro_rules! scopes {
    ($($visit:ident: $node:ident),* $(,)?) => {
        $(fn $visit(&mut self, node: &'ast syn::$node) {
            self.scoped(|code| visit::$visit(code, node));
        })*
    };
}

impl<'ast> Visit<'ast> for Code<'_> {
    scopes! {
        visit_item: Item,
        visit_impl_item: ImplItem,
        visit_trait_item: TraitItem,
        visit_foreign_item: ForeignItem,
        visit_stmt: Stmt,
        visit_expr: Expr,
        visit_arm: Arm,
        visit_field: Field,
        visit_variant: Variant,
        visit_field_value: FieldValue,
        visit_field_pat: FieldPat,
        visit_fn_arg: FnArg,
        visit_generic_param: GenericParam,
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("cfg") {
            self.add(&attribute.meta);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        if item.content.is_none() {
            let path = self.inside.iter().collect();
            self.modules.push(Module { path, behind: self.behind.clone() });
        }
        self.inside.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        self.note_use(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note_path(&path.segments.iter().map(|segment| &segment.ident).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // The attributes of a call come first, as everywhere.
        visit::visit_expr_method_call(self, call);
        self.note_path(&[&call.method]);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.note_text(text.span().start().line, &text.value());
    }

    fn visit_macro(&mut self, one: &'ast syn::Macro) {
        visit::visit_macro(self, one);
        self.note_tokens(one.tokens.clone());
    }
}

#[cfg(test)]
mod tests;
