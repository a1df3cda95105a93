//! Whether statements read a name: a macro takes `caller`, `kwargs` and `varargs` only if it does.

use super::ast::{Arguments, Expr, Kind, Stmt};

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

fn in_arguments(arguments: &Arguments, name: &str) -> bool {
    let named = arguments.named.iter().map(|(_, value)| value);
    arguments
        .positional
        .iter()
        .chain(named)
        .chain(&arguments.star)
        .chain(&arguments.star_star)
        .any(|e| in_expr(e, name))
}

pub fn in_expr(expr: &Expr, name: &str) -> bool {
    let any = |items: &[Expr]| items.iter().any(|e| in_expr(e, name));
    match expr {
        Expr::Literal(_) => false,
        Expr::Name(found) => &**found == name,
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => any(items),
        Expr::Dict(pairs) => pairs.iter().any(|(k, v)| in_expr(k, name) || in_expr(v, name)),
        Expr::Attribute(of, _) | Expr::Not(of) | Expr::Neg(of) | Expr::Pos(of) => in_expr(of, name),
        Expr::Item(a, b) | Expr::And(a, b) | Expr::Or(a, b) | Expr::Binary(_, a, b) => {
            in_expr(a, name) || in_expr(b, name)
        }
        Expr::Slice(parts) => parts.iter().flatten().any(|e| in_expr(e, name)),
        Expr::Call(of, arguments) | Expr::Test(of, _, arguments) => in_expr(of, name) || in_arguments(arguments, name),
        Expr::Filter(of, _, arguments) => {
            of.as_ref().is_some_and(|e| in_expr(e, name)) || in_arguments(arguments, name)
        }
        Expr::Compare(first, rest) => in_expr(first, name) || rest.iter().any(|(_, e)| in_expr(e, name)),
        Expr::Condition(test, value, otherwise) => {
            in_expr(test, name) || in_expr(value, name) || otherwise.as_ref().is_some_and(|e| in_expr(e, name))
        }
    }
}
