//! `tidings init`: writes a configuration to begin with, and a key.

use crate::args::InitArgs;
use crate::commands::key::{exists, write_beside, write_secret};
use crate::config::template;
use crate::console::{put, say};
use crate::outcome::{Ended, Outcome};

pub(crate) fn run(args: &InitArgs) -> anyhow::Result<Outcome> {
    let file = &args.file;
    let key = file.with_extension("key");
    if key == *file {
        return Err(Ended::usage(
            "the configuration needs another extension than .key, which is that of the key",
        ));
    }
    for path in [file, &key] {
        if path.exists() {
            return Err(exists(path));
        }
    }
    // The hub may be started in another folder.
    let named = std::path::absolute(&key)?;
    let Some(text) = named.to_str() else {
        return Err(Ended::usage(format!(
            "{named:?} is not UTF-8, and a configuration can name only such files"
        )));
    };
    let text = template::with_key(text);
    write_secret(&key)?;
    write_beside(&key, file, text.as_bytes())?;
    put!("{}\n{}", file.display(), key.display());
    say!(
        "Next:\n  \
         tidings serve --config {file}\n  \
         tidings token --key-file {key} --publish '*' --subscribe '*'\n  \
         tidings subscribe https://example.com/books/1\n  \
         tidings publish https://example.com/books/1 'hello' --token THE-TOKEN",
        file = file.display(),
        key = key.display()
    );
    Ok(Outcome::Done)
}
