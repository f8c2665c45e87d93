//! The configuration that `tidings init` writes.

/// Every setting, with its default or an example, and an explanation. A setting that is off is a comment without
/// a space after its `#`.
const TEMPLATE: &str = include_str!("template.toml");

/// The template, with this file as the key.
pub(crate) fn with_key(path: &str) -> String {
    // A text of TOML in double quotes has the escapes of JSON; this character must be escaped too.
    let quoted = serde_json::Value::from(path).to_string().replace('\u{7f}', "\\u007F");
    TEMPLATE.replace("\"KEY-FILE\"", &quoted)
}

#[cfg(test)]
mod tests {
    use super::super::file::File;
    use super::*;

    /// The template with every setting on.
    fn with_all() -> String {
        let on = |line: &'static str| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
            _ => line,
        };
        TEMPLATE.lines().map(on).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_key_is_in_the_template_and_no_other() {
        // An unknown key would be an error.
        File::parse(&with_all()).unwrap();
        let table: toml::Table = with_all().parse().unwrap();
        let mut found = std::collections::BTreeSet::new();
        collect("", &toml::Value::Table(table), &mut found);
        let missing: Vec<_> = File::keys().difference(&found).cloned().collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    fn collect(path: &str, value: &toml::Value, keys: &mut std::collections::BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    let path =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    keys.insert(path.clone());
                    collect(&path, value, keys);
                }
            }
            toml::Value::Array(list) => list.iter().for_each(|one| collect(path, one, keys)),
            _ => {}
        }
    }

    #[test]
    fn any_path_of_a_key_can_be_written() {
        for path in ["/a/b.key", "C:\\a \"b\".key", "/ö\u{7f}/\t"] {
            let file = File::parse(&with_key(path));
            let text = format!("{file:?}");
            assert!(text.contains(&format!("{path:?}")), "{text}");
        }
    }
}
