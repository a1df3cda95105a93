//! Names that a block assigns before it reads them, while no block around it knows them: until then they are undefined in
//! it and in what it holds, whatever the template was given under that name. This is what Jinja2's compiler makes of the
//! text (jinja2/idtracking.py), so that a macro that stands above `{% set x %}` does not see the x of the caller.

use super::ast::{Expr, ForLoop, Kind, MacroBody, Stmt, Target};
use super::names::each_name;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// By the address of a block's first statement.
pub type Unset = HashMap<usize, Vec<Arc<str>>>;

pub fn key_of(body: &[Stmt]) -> usize {
    body.as_ptr() as usize
}

pub fn unset_names(body: &[Stmt]) -> Unset {
    let mut out = Unset::new();
    Frame::default().analyse(body, &[], &mut out);
    out
}

/// How a name comes into its block: as a parameter, from outside, or with its first assignment.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    Given,
    Unset,
}

#[derive(Debug, Clone, Default)]
struct Frame {
    known: BTreeMap<Arc<str>, Load>,
    stored: BTreeSet<Arc<str>>,
}

impl Frame {
    fn with_parameters<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> Frame {
        let mut frame = Frame::default();
        for name in names {
            frame.known.insert(name.clone(), Load::Given);
            frame.stored.insert(name.clone());
        }
        frame
    }

    /// This block with its statements, and then the blocks that stand in it.
    fn analyse(mut self, body: &[Stmt], outer: &[Frame], out: &mut Unset) {
        self.statements(body, outer);
        let unset: Vec<Arc<str>> =
            self.known.iter().filter(|(_, load)| **load == Load::Unset).map(|(name, _)| name.clone()).collect();
        if !unset.is_empty() && !body.is_empty() {
            out.insert(key_of(body), unset);
        }
        let mut frames = outer.to_vec();
        frames.push(self);
        inner_blocks(body, &frames, out);
    }

    fn statements(&mut self, body: &[Stmt], outer: &[Frame]) {
        for stmt in body {
            self.statement(stmt, outer);
        }
    }

    fn statement(&mut self, stmt: &Stmt, outer: &[Frame]) {
        match &stmt.kind {
            Kind::Data(_) | Kind::Break | Kind::Continue | Kind::Unsupported(_) | Kind::Scope(_) => {}
            Kind::Output(values) => values.iter().for_each(|value| self.read(value, outer)),
            Kind::For(code) => self.read(&code.iterable, outer),
            Kind::If(branches, otherwise) => self.condition(branches, otherwise, outer),
            Kind::Set(target, value) => {
                self.read(value, outer);
                self.store(target, outer);
            }
            Kind::SetBlock(target, _, _) => self.store(target, outer),
            Kind::With(bindings, _) => bindings.iter().for_each(|(_, value)| self.read(value, outer)),
            Kind::Macro(body) => body.name.iter().for_each(|name| self.store_name(name, outer)),
            Kind::CallBlock(value, _) | Kind::FilterBlock(value, _) => self.read(value, outer),
        }
    }

    fn read(&mut self, value: &Expr, outer: &[Frame]) {
        each_name(value, &mut |name| self.load(name, outer));
    }

    fn load(&mut self, name: &Arc<str>, outer: &[Frame]) {
        if !self.known.contains_key(name) && !is_known(name, outer) {
            self.known.insert(name.clone(), Load::Given);
        }
    }

    fn store_name(&mut self, name: &Arc<str>, outer: &[Frame]) {
        self.stored.insert(name.clone());
        let load = if is_known(name, outer) { Load::Given } else { Load::Unset };
        self.known.entry(name.clone()).or_insert(load);
    }

    fn store(&mut self, target: &Target, outer: &[Frame]) {
        match target {
            Target::Name(name) => self.store_name(name, outer),
            Target::Tuple(parts) => parts.iter().for_each(|part| self.store(part, outer)),
            Target::Namespace(name, _) => self.load(name, outer),
        }
    }

    /// A name that branches assign, and nothing before them, comes from outside (jinja2 3.1.6).
    fn condition(&mut self, branches: &[(Expr, Vec<Stmt>)], otherwise: &[Stmt], outer: &[Frame]) {
        let Some(((test, body), rest)) = branches.split_first() else { return self.statements(otherwise, outer) };
        self.read(test, outer);
        let mut ways = [self.clone(), self.clone(), self.clone()];
        ways[0].statements(body, outer);
        for (test, body) in rest {
            ways[1].read(test, outer);
            let mut way = ways[1].clone();
            way.statements(body, outer);
            ways[1].join(&[way]);
        }
        ways[2].statements(otherwise, outer);
        self.join(&ways);
    }

    fn join(&mut self, ways: &[Frame]) {
        let before = self.stored.clone();
        for way in ways {
            self.known.extend(way.known.iter().map(|(name, load)| (name.clone(), *load)));
            self.stored.extend(way.stored.iter().cloned());
        }
        for name in self.stored.difference(&before) {
            self.known.insert(name.clone(), Load::Given);
        }
    }
}

fn is_known(name: &Arc<str>, outer: &[Frame]) -> bool {
    outer.iter().any(|frame| frame.known.contains_key(name))
}

fn inner_blocks(body: &[Stmt], frames: &[Frame], out: &mut Unset) {
    for stmt in body {
        match &stmt.kind {
            Kind::For(code) => for_blocks(code, frames, out),
            Kind::If(branches, otherwise) => {
                branches.iter().for_each(|(_, body)| inner_blocks(body, frames, out));
                inner_blocks(otherwise, frames, out);
            }
            Kind::SetBlock(_, _, body) | Kind::FilterBlock(_, body) | Kind::Scope(body) => {
                Frame::default().analyse(body, frames, out);
            }
            Kind::With(bindings, body) => {
                let mut frame = Frame::default();
                bindings.iter().for_each(|(target, _)| frame.store(target, frames));
                frame.analyse(body, frames, out);
            }
            Kind::Macro(inner) | Kind::CallBlock(_, inner) => macro_block(inner, frames, out),
            _ => {}
        }
    }
}

fn for_blocks(code: &ForLoop, frames: &[Frame], out: &mut Unset) {
    let mut names: Vec<Arc<str>> = vec!["loop".into()];
    target_names(&code.target, &mut names);
    Frame::with_parameters(names.iter()).analyse(&code.body, frames, out);
    Frame::default().analyse(&code.otherwise, frames, out);
}

fn macro_block(code: &MacroBody, frames: &[Frame], out: &mut Unset) {
    let special: [Arc<str>; 3] = ["caller".into(), "kwargs".into(), "varargs".into()];
    let names = code.parameters.iter().map(|(name, _)| name).chain(&special);
    let mut frame = Frame::with_parameters(names);
    code.parameters.iter().flat_map(|(_, value)| value).for_each(|value| frame.read(value, frames));
    frame.analyse(&code.body, frames, out);
}

fn target_names(target: &Target, names: &mut Vec<Arc<str>>) {
    match target {
        Target::Name(name) => names.push(name.clone()),
        Target::Tuple(parts) => parts.iter().for_each(|part| target_names(part, names)),
        Target::Namespace(..) => {}
    }
}
