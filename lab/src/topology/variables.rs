//! Puts the values of variables into the text of a topology file, before it is read as YAML.
//!
//! Pure: the caller says what a variable's value is. The rules are containerlab's: it does the same to the whole text, comments
//! included. A variable without a value and without a default stays as `$NAME`.

/// Why the text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// Line and column of the `${`, both from 1.
    pub(super) at: (u64, u64),
}

/// The text with the values of its variables. `value` returns `None` for a variable that is not set.
///
/// # Errors
/// When a `${` has no `}` in its line.
pub(super) fn expand(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, Unclosed> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(inside) = after.strip_prefix('{').filter(|inside| starts_a_name(inside)) {
            let start = text.len() - after.len() - 1;
            let (expression, after) = inside
                .split_once('}')
                .filter(|(expression, _)| !expression.contains('\n'))
                .ok_or_else(|| Unclosed { at: place(text, start) })?;
            expanded.push_str(&evaluate(expression, value));
            rest = after;
        } else if starts_a_name(after) {
            let name = name_of(after);
            expanded.push_str(&plain(name, value));
            rest = after.split_at(name.len()).1;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The value of `NAME`, or `NAME` with an operator and its operand.
fn evaluate(expression: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let name = name_of(expression);
    let operation = expression.split_at(name.len()).1;
    let set = value(name);
    let operand = |text: &str| match text.strip_prefix('$') {
        Some(other) => plain(other.trim_start_matches('{').trim_end_matches('}'), value),
        None => text.to_string(),
    };
    for operator in [":=", ":-"] {
        if let Some(default) = operation.strip_prefix(operator) {
            return set.filter(|set| !set.is_empty()).unwrap_or_else(|| operand(default));
        }
    }
    for operator in ["=", "-"] {
        if let Some(default) = operation.strip_prefix(operator) {
            return set.unwrap_or_else(|| operand(default));
        }
    }
    for operator in [":+", "+"] {
        if let Some(other) = operation.strip_prefix(operator) {
            return set.map(|_| operand(other)).unwrap_or_default();
        }
    }
    plain(name, value)
}

/// The variable's value, or `$NAME` if it has none.
fn plain(name: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    value(name).filter(|value| !value.is_empty()).unwrap_or_else(|| format!("${name}"))
}

fn starts_a_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end).0
}

/// Line and column of an octet of the text, both from 1.
fn place(text: &str, octet: usize) -> (u64, u64) {
    let before = text.get(..octet).unwrap_or(text);
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_string()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_expanded_as_containerlab_does() {
        for (text, want) in [
            ("image: ${A}/$A:1 $$A $1 $ \"$\"", "image: a/a:1 $A $1 $ \"$\""),
            ("${NONE} $NONE", "$NONE $NONE"),
            ("${A:=b} ${EMPTY:=b} ${NONE:=b} ${NONE:=reg/x:1}", "a b b reg/x:1"),
            ("${A:-b} ${EMPTY:-b} ${NONE:-b} ${NONE:-$A}", "a b b a"),
            ("${A=b} ${EMPTY=b} ${NONE=b} ${NONE-b}", "a  b b"),
            ("${A:+b}${NONE:+b}${A+b}", "bb"),
            ("${1}", "${1}"),
        ] {
            assert_eq!(expand(text, &value).unwrap(), want, "{text}");
        }
        assert_eq!(expand("a: 1\nb: ${A", &value), Err(Unclosed { at: (2, 4) }));
    }
}
