//! The paths in a file that name modules of its crate, or other crates.

use anyhow::Result;
use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, ExprMethodCall, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, UseTree, Visibility,
};

/// The uses of modules in one file.
pub(super) struct File {
    /// The module that is being read: the names from the crate's root to it.
    pub(super) module: Vec<String>,
    /// The modules that are files, except tests.
    pub(super) children: Vec<Child>,
    pub(super) used: Vec<Used>,
    pub(super) foreign: Vec<Foreign>,
}

/// A path that does not begin in this crate's own modules.
pub(super) struct Foreign {
    pub(super) line: usize,
    pub(super) names: Vec<String>,
}

pub(super) struct Child {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// A path that names something of this crate.
#[derive(Debug, PartialEq)]
pub(super) struct Used {
    pub(super) line: usize,
    /// The names after the crate's root.
    pub(super) path: Vec<String>,
}

pub(super) fn parse(file: &str, text: &str, module: Vec<String>) -> Result<File> {
    let parsed = syn::parse_file(text)
        .map_err(|error| anyhow::anyhow!("{file}:{}: {error}", error.span().start().line))?;
    let mut file = File { module, children: Vec::new(), used: Vec::new(), foreign: Vec::new() };
    file.visit_file(&parsed);
    Ok(file)
}

impl File {
    /// Notes a path, by its names from its first one on.
    fn note(&mut self, names: &[String], span: Span) {
        let above = names.iter().take_while(|name| *name == "super").count();
        let (depth, rest) = match names.first().map(String::as_str) {
            Some("crate") => (0, &names[1..]),
            Some("self") => {
                let above = names[1..].iter().take_while(|name| *name == "super").count();
                (self.module.len().saturating_sub(above), &names[1 + above..])
            }
            Some("super") => (self.module.len().saturating_sub(above), &names[above..]),
            // The name of another crate, of a module below this one, or of something in scope.
            _ => {
                let names = names.to_vec();
                return self.foreign.push(Foreign { line: span.start().line, names });
            }
        };
        let path = self.module[..depth].iter().chain(rest).cloned().collect();
        self.used.push(Used { line: span.start().line, path });
    }

    fn note_use(&mut self, tree: &UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| {
            // `a::{self}` is `a`.
            let is_self = ident == "self" && !before.is_empty();
            let name = (!is_self).then(|| ident.to_string());
            before.iter().cloned().chain(name).collect::<Vec<_>>()
        };
        match tree {
            UseTree::Path(path) => self.note_use(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.note(&with(&name.ident), name.ident.span()),
            UseTree::Rename(rename) => self.note(&with(&rename.ident), rename.ident.span()),
            UseTree::Glob(glob) => {
                let star = before.iter().cloned().chain(["*".to_owned()]).collect::<Vec<_>>();
                self.note(&star, glob.star_token.spans[0]);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.note_use(item, before));
            }
        }
    }

    /// Records the paths among a macro's tokens. Only the macro knows what else they mean.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Option<(Vec<String>, Span)> = None;
        // The number of colons since the last name.
        let mut colons = 0;
        // The number of dots just before this token: one before a method, two in a range.
        let mut dots = 0;
        for token in tokens {
            let is_method = std::mem::take(&mut dots) == 1;
            match token {
                TokenTree::Ident(ident) if is_method => {
                    self.note_path(path.take());
                    self.note_method(&ident.to_string(), ident.span());
                }
                TokenTree::Punct(punct) if punct.as_char() == '.' => {
                    self.note_path(path.take());
                    dots = if is_method { 2 } else { 1 };
                }
                TokenTree::Ident(ident) => match &mut path {
                    Some((names, _)) if colons == 2 => names.push(ident.to_string()),
                    _ => {
                        self.note_path(path.take());
                        // `a::super` is not a path, and neither is `::crate`.
                        path = (colons == 0).then(|| (vec![ident.to_string()], ident.span()));
                    }
                },
                TokenTree::Punct(punct)
                    if punct.as_char() == ':'
                        && (punct.spacing() == Spacing::Joint || colons == 1) =>
                {
                    colons += 1;
                    continue;
                }
                other => {
                    self.note_path(path.take());
                    if let TokenTree::Group(group) = other {
                        self.note_tokens(group.stream());
                    }
                }
            }
            colons = 0;
        }
        self.note_path(path);
    }

    fn note_method(&mut self, name: &str, span: Span) {
        self.foreign.push(Foreign { line: span.start().line, names: vec![format!(".{name}")] });
    }

    fn note_path(&mut self, path: Option<(Vec<String>, Span)>) {
        if let Some((names, span)) = path {
            self.note(&names, span);
        }
    }
}

impl<'ast> Visit<'ast> for File {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(one) => &one.attrs,
            ImplItem::Fn(one) => &one.attrs,
            ImplItem::Type(one) => &one.attrs,
            ImplItem::Macro(one) => &one.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        } else {
            let line = item.ident.span().start().line;
            self.children.push(Child { line, path: self.module.clone() });
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // `::crate` names no module, but `::http` a crate.
        self.note_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.note(&names, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.note_method(&call.method.to_string(), call.method.span());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, one: &'ast Macro) {
        visit::visit_macro(self, one);
        self.note_tokens(one.tokens.clone());
    }

    // `pub(super)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(one) => &one.attrs,
        Item::Enum(one) => &one.attrs,
        Item::ExternCrate(one) => &one.attrs,
        Item::Fn(one) => &one.attrs,
        Item::ForeignMod(one) => &one.attrs,
        Item::Impl(one) => &one.attrs,
        Item::Macro(one) => &one.attrs,
        Item::Mod(one) => &one.attrs,
        Item::Static(one) => &one.attrs,
        Item::Struct(one) => &one.attrs,
        Item::Trait(one) => &one.attrs,
        Item::TraitAlias(one) => &one.attrs,
        Item::Type(one) => &one.attrs,
        Item::Union(one) => &one.attrs,
        Item::Use(one) => &one.attrs,
        _ => &[],
    }
}

/// Whether an item with these attributes is compiled for tests only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Meta>().is_ok_and(|condition| is_test(&condition))
        }
        _ => false,
    })
}

fn is_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(all) if all.path.is_ident("all") => all
            .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
            .is_ok_and(|conditions| conditions.iter().any(is_test)),
        _ => false,
    }
}
