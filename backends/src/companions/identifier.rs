//! Names of the user's model as identifiers of C, C++ and Rust.

/// Keywords of C11 and C++20, sorted.
const C_KEYWORDS: &[&str] = &[
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "asm",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "char16_t",
    "char32_t",
    "char8_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "const_cast",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "main",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
];

/// Keywords of Rust that are not among those of C and C++, sorted.
const RUST_KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "crate", "dyn", "final", "fn", "gen",
    "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub",
    "ref", "self", "super", "trait", "type", "unsafe", "unsized", "use", "where", "yield",
];

/// Whether `name`, as a type of its own, would clash with what the generated header uses: its own
/// `cnd_` names, and those of the standard headers that it includes.
pub(super) fn is_taken_in_header(name: &str) -> bool {
    const STANDARD: &[&str] = &[
        "NULL",
        "max_align_t",
        "nullptr_t",
        "ptrdiff_t",
        "size_t",
        "std",
        "wchar_t",
    ];
    let is_sized_integer =
        name.ends_with("_t") && (name.starts_with("int") || name.starts_with("uint"));
    // `cnd` would declare `cnd_model` and `cnd_level` once more.
    let is_ours = name == "cnd" || name.starts_with("cnd_") || name.starts_with("CND_");
    is_ours || is_sized_integer || STANDARD.contains(&name)
}

/// Whether `name` can name something in C and C++.
pub(super) fn is_c_identifier(name: &str) -> bool {
    let has_first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    has_first
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && C_KEYWORDS.binary_search(&name).is_err()
}

/// Lower-case parameter names for C and Rust from the user's names, all different, none of `taken`.
pub(super) fn parameter_names<'a>(
    names: impl IntoIterator<Item = &'a str>,
    taken: &[&str],
) -> Vec<String> {
    let mut used: Vec<String> = taken.iter().map(ToString::to_string).collect();
    let mut result = Vec::new();
    for name in names {
        let mut base = sanitize(name).to_ascii_lowercase();
        if base.starts_with(|c: char| c.is_ascii_digit()) {
            base.insert_str(0, "t_");
        }
        // A lone or leading underscore has a meaning in Rust.
        let base = base.trim_start_matches('_');
        let base = if base.is_empty() { "t" } else { base };
        let is_free = |name: &String, used: &[String]| {
            !used.contains(name)
                && C_KEYWORDS.binary_search(&name.as_str()).is_err()
                && RUST_KEYWORDS.binary_search(&name.as_str()).is_err()
        };
        let mut candidates = std::iter::once(base.to_string())
            .chain((2..).map(|n| format!("{base}_{n}")))
            .filter(|c| is_free(c, &used));
        let name = candidates.next().expect("endless");
        used.push(name.clone());
        result.push(name);
    }
    result
}

/// Upper-case endings of constants from the user's names, all different.
pub(super) fn constant_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut result: Vec<String> = Vec::new();
    for name in names {
        let base = sanitize(name).to_ascii_uppercase();
        let mut candidates = std::iter::once(base.clone())
            .chain((2..).map(|n| format!("{base}_{n}")))
            .filter(|c| !result.contains(c));
        let name = candidates.next().expect("endless");
        result.push(name);
    }
    result
}

/// ASCII letters, digits and underscores; everything else becomes an underscore, runs of them one.
fn sanitize(name: &str) -> String {
    let mut result = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => result.push(c),
            _ if !result.ends_with('_') => result.push('_'),
            _ => {}
        }
    }
    let trimmed = result.trim_end_matches('_');
    if trimmed.is_empty() {
        "_".into()
    } else {
        trimmed.into()
    }
}

/// Text for a comment: one line that cannot end the comment.
pub(super) fn comment(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.collect::<String>()
        .replace("*/", "* /")
        .replace("/*", "/ *")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_header_are_taken() {
        for name in [
            "NULL",
            "size_t",
            "std",
            "uint32_t",
            "int8_t",
            "cnd",
            "cnd_status",
            "CND_OK",
        ] {
            assert!(is_taken_in_header(name), "{name}");
        }
        for name in ["resnet50", "integer", "digits", "kws", "interest_t2"] {
            assert!(!is_taken_in_header(name), "{name}");
        }
    }

    #[test]
    fn keyword_lists_are_sorted() {
        assert!(C_KEYWORDS.is_sorted());
        assert!(RUST_KEYWORDS.is_sorted());
    }

    #[test]
    fn model_names() {
        assert!(is_c_identifier("resnet50") && is_c_identifier("_m"));
        for bad in ["", "5x", "a-b", "int", "class", "größe", "a b"] {
            assert!(!is_c_identifier(bad), "{bad}");
        }
    }

    #[test]
    fn parameter_names_are_different_and_legal() {
        let names = [
            "input.1", "input/1", "Input:1", "1", "float", "type", "", "__x", "state",
        ];
        assert_eq!(
            parameter_names(names, &["state"]),
            [
                "input_1",
                "input_1_2",
                "input_1_3",
                "t_1",
                "float_2",
                "type_2",
                "t",
                "x",
                "state_2"
            ]
        );
    }

    #[test]
    fn constants() {
        assert_eq!(constant_names(["a b", "A.b", "1"]), ["A_B", "A_B_2", "1"]);
    }

    #[test]
    fn comments_cannot_be_left() {
        assert_eq!(comment("a*/b\nc"), "a* /b c");
    }
}
