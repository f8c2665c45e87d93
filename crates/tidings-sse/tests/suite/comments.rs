use crate::decoding::{check, comment, message};

#[test]
fn a_comment_is_returned_as_soon_as_its_line_has_ended() {
    check(&[": a\n"], &[comment(" a")]);
    check(&[":a\r"], &[comment("a")]);
}

#[test]
fn a_comments_text_is_not_trimmed() {
    check(&[":\n:  a \n::\n"], &[comment(""), comment("  a "), comment(":")]);
}

#[test]
fn a_comment_within_a_block_is_returned_before_its_event() {
    check(&["data: a\n: b\ndata: c\n\n"], &[comment(" b"), message("a\nc")]);
}
