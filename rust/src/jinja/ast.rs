//! A parsed template. Nothing in it is bound to a thread.

use std::sync::Arc;

#[derive(Debug, Clone)]
pub enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Debug, Default)]
pub struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Arc<str>, Expr)>,
    pub star: Option<Expr>,
    pub star_star: Option<Expr>,
}

#[derive(Debug)]
pub enum Expr {
    Literal(Literal),
    Name(Arc<str>),
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    /// `None` stands for the text of the block that is filtered.
    Filter(Option<Box<Expr>>, Arc<str>, Box<Arguments>),
    Test(Box<Expr>, Arc<str>, Box<Arguments>),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// test, value, otherwise
    Condition(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

#[derive(Debug)]
pub enum Target {
    Name(Arc<str>),
    Tuple(Vec<Target>),
    Namespace(Arc<str>, Arc<str>),
}

#[derive(Debug)]
pub struct MacroBody {
    pub name: Option<Arc<str>>,
    pub parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub body: Vec<Stmt>,
    /// Whether the body reads these names.
    pub uses_caller: bool,
    pub uses_kwargs: bool,
    pub uses_varargs: bool,
}

#[derive(Debug)]
pub struct ForLoop {
    pub target: Target,
    pub iterable: Expr,
    pub test: Option<Expr>,
    pub recursive: bool,
    pub body: Vec<Stmt>,
    pub otherwise: Vec<Stmt>,
}

#[derive(Debug)]
pub enum Kind {
    Data(Arc<str>),
    Output(Vec<Expr>),
    For(Arc<ForLoop>),
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    Set(Target, Expr),
    /// The text of the body, through the filter.
    SetBlock(Target, Option<Expr>, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    Macro(Arc<MacroBody>),
    CallBlock(Expr, Arc<MacroBody>),
    FilterBlock(Expr, Vec<Stmt>),
    /// {% generation %}: prints its body, which has a scope of its own.
    Scope(Vec<Stmt>),
    Break,
    Continue,
    /// A statement that needs more than one template.
    Unsupported(&'static str),
}

#[derive(Debug)]
pub struct Stmt {
    pub kind: Kind,
    pub line: usize,
    /// Of its tag, in bytes of the normalized source.
    pub span: (usize, usize),
}
