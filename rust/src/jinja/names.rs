//! Whether statements read a name: a macro takes `caller`, `kwargs` and `varargs` only if it does.

use super::ast::{Arguments, Expr, Kind, Stmt};
use std::sync::Arc;

pub fn reads(body: &[Stmt], name: &str) -> bool {
    body.iter().any(|stmt| in_stmt(stmt, name))
}

fn in_stmt(stmt: &Stmt, name: &str) -> bool {
    let expr = |e: &Expr| in_expr(e, name);
    match &stmt.kind {
        Kind::Data(_) | Kind::Break | Kind::Continue | Kind::Unsupported(_) => false,
        Kind::Output(values) => values.iter().any(expr),
        Kind::For(f) => {
            expr(&f.iterable) || f.test.as_ref().is_some_and(expr) || reads(&f.body, name) || reads(&f.otherwise, name)
        }
        Kind::If(branches, otherwise) => {
            branches.iter().any(|(test, body)| expr(test) || reads(body, name)) || reads(otherwise, name)
        }
        Kind::Set(_, value) => expr(value),
        Kind::SetBlock(_, filter, body) => filter.as_ref().is_some_and(expr) || reads(body, name),
        Kind::With(bindings, body) => bindings.iter().any(|(_, value)| expr(value)) || reads(body, name),
        Kind::Macro(inner) => reads(&inner.body, name),
        Kind::CallBlock(call, inner) => expr(call) || reads(&inner.body, name),
        Kind::FilterBlock(filter, body) => expr(filter) || reads(body, name),
        Kind::Scope(body) => reads(body, name),
    }
}

pub fn in_expr(expr: &Expr, name: &str) -> bool {
    let mut found = false;
    each_name(expr, &mut |read| found = found || **read == *name);
    found
}

fn each_argument(arguments: &Arguments, seen: &mut dyn FnMut(&Arc<str>)) {
    let named = arguments.named.iter().map(|(_, value)| value);
    let all = arguments.positional.iter().chain(named).chain(&arguments.star).chain(&arguments.star_star);
    all.for_each(|e| each_name(e, seen));
}

/// Every name that the expression reads.
pub fn each_name(expr: &Expr, seen: &mut dyn FnMut(&Arc<str>)) {
    match expr {
        Expr::Literal(_) => {}
        Expr::Name(found) => seen(found),
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => items.iter().for_each(|e| each_name(e, seen)),
        Expr::Dict(pairs) => pairs.iter().for_each(|(k, v)| {
            each_name(k, seen);
            each_name(v, seen);
        }),
        Expr::Attribute(of, _) | Expr::Not(of) | Expr::Neg(of) | Expr::Pos(of) => each_name(of, seen),
        Expr::Item(a, b) | Expr::And(a, b) | Expr::Or(a, b) | Expr::Binary(_, a, b) => {
            each_name(a, seen);
            each_name(b, seen);
        }
        Expr::Slice(parts) => parts.iter().flatten().for_each(|e| each_name(e, seen)),
        Expr::Call(of, arguments) | Expr::Test(of, _, arguments) => {
            each_name(of, seen);
            each_argument(arguments, seen);
        }
        Expr::Filter(of, _, arguments) => {
            of.iter().for_each(|e| each_name(e, seen));
            each_argument(arguments, seen);
        }
        Expr::Compare(first, rest) => {
            each_name(first, seen);
            rest.iter().for_each(|(_, e)| each_name(e, seen));
        }
        Expr::Condition(test, value, otherwise) => {
            each_name(test, seen);
            each_name(value, seen);
            otherwise.iter().for_each(|e| each_name(e, seen));
        }
    }
}
