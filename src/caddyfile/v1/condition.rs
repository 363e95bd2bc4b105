//! `if` of Caddy 1, in the blocks of `redir` and `rewrite`: a named matcher of Caddy 2.

use super::literally;
use crate::CaddyfileError;
use crate::parser::Directive;
use crate::site::Scope;
use crate::write::Line;

/// The conditions of one block.
#[derive(Default)]
pub(super) struct Conditions {
    all: Vec<Condition>,
    is_any: bool,
}

struct Condition {
    placeholder: String,
    expression: String,
    is_negative: bool,
    line: u32,
}

impl Conditions {
    /// Takes a line of the block; false if it is none of `if` and `if_op`.
    pub(super) fn take(
        &mut self,
        line: &Directive,
        scope: &Scope<'_>,
    ) -> Result<bool, CaddyfileError> {
        match (line.name.as_str(), line.args().as_slice()) {
            ("if", [left, operator, right]) => {
                self.all.push(condition(line, scope, left, operator, right)?);
            }
            ("if_op", ["and"]) => self.is_any = false,
            ("if_op", ["or"]) => self.is_any = true,
            ("if", _) => return Err(line.error("is not 'if A OPERATOR B'")),
            ("if_op", _) => return Err(line.error("is neither 'if_op and' nor 'if_op or'")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The lines of a named matcher's block.
    ///
    /// Caddy 2 takes several `vars_regexp` of a block for alternatives, and several `not` for conditions that all have
    /// to hold. So everything is said by `not`, if need be twice.
    pub(super) fn lines(&self) -> Vec<Line> {
        match (self.is_any, self.all.as_slice()) {
            (_, []) => Vec::new(),
            (_, [single]) => vec![single.as_matcher()],
            (true, all) => {
                let line = all.first().map_or(0, |first| first.line);
                let none = all.iter().map(Condition::denied).collect();
                vec![Line::new(["not"], line).with(none)]
            }
            (false, all) => all.iter().map(Condition::affirmed).collect(),
        }
    }
}

impl Condition {
    /// On its own.
    fn as_matcher(&self) -> Line {
        match self.is_negative {
            true => self.not_this(),
            false => self.this(),
        }
    }

    /// Holds where the condition does; begins with `not`.
    fn affirmed(&self) -> Line {
        match self.is_negative {
            true => self.not_this(),
            false => Line::new(["not"], self.line).with(vec![self.not_this()]),
        }
    }

    /// Holds where the condition does not; begins with `not`.
    fn denied(&self) -> Line {
        match self.is_negative {
            true => Line::new(["not"], self.line).with(vec![self.not_this()]),
            false => self.not_this(),
        }
    }

    fn this(&self) -> Line {
        Line::new(["vars_regexp", &self.placeholder, &self.expression], self.line)
    }

    fn not_this(&self) -> Line {
        Line::new(["not", "vars_regexp", &self.placeholder, &self.expression], self.line)
    }
}

fn condition(
    line: &Directive,
    scope: &Scope<'_>,
    left: &str,
    operator: &str,
    right: &str,
) -> Result<Condition, CaddyfileError> {
    let is_one = left.starts_with('{') && left.find('}') == Some(left.len() - 1);
    if !is_one {
        return Err(line.error(format!("{left:?}: only one placeholder can be compared")));
    }
    if left.starts_with("{~") {
        // A cookie that is not there is its placeholder's text in Caddy 2.
        return Err(line.error("cookies can't be compared; compare {>Cookie}"));
    }
    if left == "{server_port}" {
        // It is known beforehand, and no placeholder.
        return Err(line.error("the port is the site's own; compare {scheme}"));
    }
    let (is_negative, operator) = match operator.strip_prefix("not_") {
        Some(operator) => (true, operator),
        None if operator == "not" => (true, "is"),
        None => (false, operator),
    };
    let expression = match operator {
        "is" => format!("(?s)^{}$", literally(line, right)?),
        "has" => literally(line, right)?,
        "starts_with" => format!("^{}", literally(line, right)?),
        "ends_with" => format!("(?s){}$", literally(line, right)?),
        "match" => super::expression(line, right)?.to_owned(),
        _ => return Err(line.error(format!("{operator:?} is no operator of Caddy 1"))),
    };
    let placeholder = scope.word(line, left, None)?;
    Ok(Condition { placeholder, expression, is_negative, line: line.line })
}
