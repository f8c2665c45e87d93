use super::boundaries::{Boundary, none_but, only};
use super::*;

/// Checks a crate of these files, whose modules are `a`, `b` and `c` from the lowest up.
fn findings(files: &[(&str, &str)]) -> Vec<String> {
    let read = |name: &str| {
        let file = files.iter().find(|(file, _)| *file == name);
        file.map(|(_, text)| (*text).to_owned())
    };
    const BOUNDARIES: &[Boundary] = &[
        only("db", &["a"]),
        only("Instant::now", &["a"]),
        only(".elapsed", &["a"]),
        none_but("runtime", "runtime::sync"),
    ];
    let layers =
        Layers { root: "src/lib.rs", within: &[], order: &["a", "b", "c"], boundaries: BOUNDARIES };
    of_crate(&layers, &read).expect("the files can be read")
}

/// Checks the text of the module `b`.
fn check(text: &str, expected: &[&str]) {
    let found = findings(&[
        ("src/lib.rs", "mod c;\nmod b;\nmod a;\npub use c::C;\n"),
        ("src/a.rs", ""),
        ("src/b.rs", text),
        ("src/b/inner.rs", "use super::super::c::C;\nuse super::B;\nuse self::x::Y;\n"),
        ("src/c/mod.rs", "use crate::{a::A, b::B};\n"),
    ]);
    let arrow = |one: &String| one.split(": ").take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(found.iter().map(arrow).collect::<Vec<_>>(), expected, "{text}");
}

const UP: &[&str] = &["src/b.rs:1 b -> c"];

#[test]
fn a_module_may_use_what_is_below_it_and_itself() {
    check("use crate::a::A;\nuse crate::b::B;\nuse super::a;\nuse std::fmt;\nuse c::C;", &[]);
}

#[test]
fn an_arrow_that_runs_up_is_found_however_it_is_spelled() {
    check("use crate::c::C;", UP);
    check("use crate::c;", UP);
    check("use crate::c::*;", UP);
    check("use crate::c::C as D;", UP);
    check("use crate::{a::{self, A}, c::{C, D}};", UP);
    check("use super::c::C;", UP);
    check("use self::super::c::C;", UP);
    check("pub(crate) use crate::c::C;", UP);
    check("fn f() -> crate::c::C { todo!() }", UP);
    check("fn f() { crate::c::f(); }", UP);
    check("impl crate::c::T for B {}", UP);
    check("fn f(b: &impl Into<super::c::C>) {}", UP);
    check("fn f() { assert!(1 == { crate::c::f() }, \"{}\", a::b); }", UP);
    check("macro_rules! m { () => { $crate::c::f() }; }", UP);
    check("crate::c::m!();", UP);
    check("fn f() {\n    use crate::c::C;\n}", &["src/b.rs:2 b -> c"]);
    check("mod deep {\n    use super::super::c::C;\n}", &["src/b.rs:2 b -> c"]);
}

#[test]
fn modules_in_files_below_count_as_the_one_right_under_the_root() {
    check("mod inner;", &["src/b/inner.rs:1 b -> c"]);
}

#[test]
fn names_that_the_root_exports_are_to_be_used_from_their_module() {
    check("use crate::C;", &["src/b.rs:1 b -> crate::C"]);
    check("use super::*;", &["src/b.rs:1 b -> crate::*"]);
}

#[test]
fn names_that_only_look_like_a_module_are_ignored() {
    check("/// [`crate::c::C`]\nfn f(c: C) { c::d(); other::c::d(); c.c() }", &[]);
    check("pub(crate) fn f() {}\npub(super) fn g() {}\npub(in crate::b) fn h() {}", &[]);
    check("fn f() { m!(a: crate, other::crate, x::super::c); }", &[]);
    check("mod deep { use super::c::C; }", &[]);
}

#[test]
fn tests_may_use_any_module() {
    check("#[cfg(test)]\nmod tests { use crate::c::C; }", &[]);
    check("#[cfg(test)]\nmod tests;", &[]);
    check("#[cfg(all(test, unix))]\nuse crate::c::C;", &[]);
    check("impl B {\n    #[cfg(test)]\n    fn f() { crate::c::f() }\n}", &[]);
    check("#[cfg(not(test))]\nuse crate::c::C;", &["src/b.rs:2 b -> c"]);
}

#[test]
fn a_name_of_another_crate_stays_within_its_boundary() {
    check("use db::Row;", &["src/b.rs:1 b -> db"]);
    check("use ::db::{self, Row};", &["src/b.rs:1 b -> db"]);
    check("fn f(row: db::Row) {}", &["src/b.rs:1 b -> db"]);
    check("fn f() { let at = Instant::now(); }", &["src/b.rs:1 b -> Instant::now"]);
    check("fn f() { x(std::time::Instant::now()); }", &["src/b.rs:1 b -> Instant::now"]);
    check("use crate::a::db;\nfn f(now: Instant, db: u8) { now.db::<u8>(); b::db(); }", &[]);
    check("#[cfg(test)]\nmod tests { use db::Row; }", &[]);
    assert_eq!(
        findings(&[
            ("src/lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("src/a.rs", "use db::Row;"),
            ("src/b.rs", ""),
            ("src/c.rs", ""),
        ]),
        [""; 0]
    );
}

#[test]
fn a_method_stays_within_its_boundary() {
    check("fn f() { begun.elapsed(); }", &["src/b.rs:1 b -> .elapsed"]);
    check("fn f() { assert!(begun.elapsed() < g); }", &["src/b.rs:1 b -> .elapsed"]);
    check("fn f() { m!(0..elapsed()); a.elapsed; elapsed() }\nfn elapsed() {}", &[]);
    check("fn f() { m!(0..crate::c::C); }", UP);
    check("fn f() { m!(0..=crate::c::C); }", UP);
}

#[test]
fn a_part_of_another_crate_can_be_allowed_to_all() {
    check("use runtime::sync::Notify;\nfn f(one: runtime::sync::Mutex) {}", &[]);
    check("use runtime::{sync, time};", &["src/b.rs:1 b -> runtime"]);
    check("use runtime::task;", &["src/b.rs:1 b -> runtime"]);
}

#[test]
fn a_folder_may_have_an_order_of_its_own() {
    let root = "mod low;\nmod high;\npub use high::H;\n";
    let found = |low: &str| {
        let read = |name: &str| {
            let text = match name {
                "src/m.rs" => root,
                "src/m/low.rs" => low,
                "src/m/high.rs" => "use super::low::L;\nuse crate::m::low;\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let layers =
            Layers { root: "src/m.rs", within: &["m"], order: &["low", "high"], boundaries: &[] };
        of_crate(&layers, &read).expect("the files can be read")
    };
    assert_eq!(found("use crate::other::C;\nuse super::low::x;\nuse self::y;"), [""; 0]);
    let up = "src/m/low.rs:1: low -> high: the layer `high` is above `low`";
    assert_eq!(found("use super::high::H;"), [up]);
    assert_eq!(found("use crate::m::high::H;"), [up]);
    let exported = "src/m/low.rs:1: low -> crate::H: use it from the module that defines it";
    assert_eq!(found("use crate::m::H;"), [exported]);
}

#[test]
fn each_module_has_a_layer_and_each_layer_is_a_module() {
    let root = "mod a;\nmod new;\nmod c;\n#[cfg(test)]\nmod tests;\n";
    let found = findings(&[("src/lib.rs", root), ("src/a.rs", ""), ("src/c.rs", "")]);
    let expected = [
        "src/lib.rs: the layer `b` is not a module of the crate",
        "src/lib.rs:2: the module `new` has no layer",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_file_that_is_missing_or_not_rust_is_named() {
    let error = |text: &str| {
        let read = |name: &str| (name == "src/lib.rs").then(|| text.to_owned());
        let layers = Layers { root: "src/lib.rs", within: &[], order: &["a"], boundaries: &[] };
        of_crate(&layers, &read).unwrap_err().to_string()
    };
    assert_eq!(error("mod a;"), "neither src/a.rs nor src/a/mod.rs exists");
    let error = error("\nmod 1;");
    assert!(error.starts_with("src/lib.rs:2: "), "{error}");
}
