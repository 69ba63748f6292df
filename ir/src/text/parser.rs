//! Text to graph.

use super::values::{ListValue, Parsed, Reader, Stop};
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, NodeId, Origin};
use crate::layout::{Bands, Layout, Planes, Strips};
use crate::ops::{AttributeReader, MNEMONICS, Op};
use crate::sparsity::LevelMask;
use crate::tensor::{LevelRule, Tensor, TensorId};
use indexmap::IndexMap;

/// Reads the text form of a graph.
///
/// # Errors
/// All that is wrong with the text, each with its line and column: `syntax-error`, `unknown-op`,
/// `unknown-value`, `unknown-tensor`, `duplicate-name`, `bad-attribute`, `shape-mismatch`,
/// `length-mismatch`, `elided-tensor`. What only follows from an earlier error is not reported.
pub fn parse_graph(source: &str) -> Result<Graph, Vec<Diagnostic>> {
    let mut parser = Parser {
        reader: Reader::new(source),
        graph: Graph::new("", 1),
        values: IndexMap::new(),
        tensors: IndexMap::new(),
    };
    // A `Stop` has left its diagnostic with the reader.
    let _ = parser.parse_all();
    match parser.reader.diagnostics.is_empty() {
        true => Ok(parser.graph),
        false => Err(parser.reader.diagnostics),
    }
}

struct Parser<'a> {
    reader: Reader<'a>,
    graph: Graph,
    /// Values by name; `None` if the definition was wrong, so that its uses are not errors too.
    values: IndexMap<String, Option<NodeId>>,
    /// Tensors by name; `None` as above.
    tensors: IndexMap<String, Option<TensorId>>,
}

/// `%y as "logits"` in the header.
struct OutputName {
    value: String,
    name: String,
    at: usize,
}

/// A type with its layout, and where it stands.
struct Type {
    shape: Vec<usize>,
    layout: Layout,
    at: usize,
}

impl Parser<'_> {
    fn parse_all(&mut self) -> Parsed<()> {
        let outputs = self.header()?;
        self.reader.punctuation('{')?;
        while !self.reader.accept('}') {
            let start = self.reader.offset();
            if self.statement().is_err() {
                self.reader.skip_statement(start)?;
            }
        }
        self.reader.end()?;
        for output in outputs {
            match self.values.get(&output.value) {
                Some(Some(node)) => self.graph.add_output(&output.name, *node),
                Some(None) => {}
                None => {
                    let message = format!("output %{} is not defined", output.value);
                    self.reader.error(output.at, "unknown-value", message);
                }
            }
        }
        Ok(())
    }

    fn header(&mut self) -> Parsed<Vec<OutputName>> {
        self.reader.word("graph")?;
        self.graph.name = self.reader.at_name()?.0;
        if self.reader.accept_word("levels") {
            self.reader.punctuation('(')?;
            self.graph.n_levels = self.reader.integer("a number of levels")?;
            self.reader.punctuation(')')?;
        }
        let at = self.reader.offset();
        if self.reader.accept_word("names") {
            self.reader.punctuation('(')?;
            let names = self.reader.list(')', Reader::text)?;
            if names.len() != self.graph.n_levels as usize {
                let (found, expected) = (names.len(), self.graph.n_levels);
                let message = format!("{found} level names for {expected} levels");
                self.reader.error(at, "length-mismatch", message);
            }
            self.graph.level_names = names;
        }
        self.reader.punctuation('(')?;
        while !self.reader.accept(')') {
            self.input()?;
            self.reader.separator(')')?;
        }
        self.reader.arrow()?;
        self.reader.punctuation('(')?;
        self.reader.list(')', |reader| {
            let (value, at) = reader.value_name()?;
            let name = match reader.accept_word("as") {
                true => reader.text()?,
                false => value.clone(),
            };
            Ok(OutputName { value, name, at })
        })
    }

    fn input(&mut self) -> Parsed<()> {
        let (name, at) = self.reader.value_name()?;
        self.reader.punctuation(':')?;
        let declared = self.declared_type()?;
        self.check_new_value(&name, at)?;
        let node = self.graph.add_input(&name, &declared.shape);
        self.graph.node_mut(node).layout = declared.layout;
        self.graph.node_mut(node).origin = origin(&name, "input");
        self.values.insert(name, Some(node));
        Ok(())
    }

    fn statement(&mut self) -> Parsed<()> {
        match self.reader.accept_word("tensor") {
            true => self.tensor(),
            false => self.node(),
        }
    }

    fn check_new_value(&mut self, name: &str, at: usize) -> Parsed<()> {
        match self.values.contains_key(name) {
            false => Ok(()),
            true => self
                .reader
                .fail(at, "duplicate-name", format!("%{name} is defined twice")),
        }
    }

    fn tensor(&mut self) -> Parsed<()> {
        let (name, at) = self.reader.at_name()?;
        if self.tensors.contains_key(&name) {
            return self
                .reader
                .fail(at, "duplicate-name", format!("@{name} is defined twice"));
        }
        self.tensors.insert(name.clone(), None);
        self.reader.punctuation(':')?;
        let shape = self.reader.shape()?;
        self.reader.punctuation('=')?;
        let n_elems: usize = shape.iter().product();
        let tensor = match self.reader.accept_word("per_level") {
            true => {
                let mut data = Vec::new();
                for _ in 0..self.graph.n_levels {
                    data.extend(self.elements::<f32>(&name, n_elems)?);
                }
                Tensor::per_level(&name, &shape, data)
            }
            false => {
                let data = self.elements::<f32>(&name, n_elems)?;
                let rule = self.level_rule(&name, n_elems, shape.len())?;
                Tensor {
                    rule,
                    ..Tensor::shared(&name, &shape, data)
                }
            }
        };
        let id = self.graph.add_tensor(tensor);
        self.tensors.insert(name, Some(id));
        Ok(())
    }

    fn level_rule(&mut self, name: &str, n_elems: usize, rank: usize) -> Parsed<LevelRule> {
        if !self.reader.accept_word("level") {
            return Ok(LevelRule::Shared);
        }
        let values = self.elements::<u8>(name, n_elems)?;
        let block = match self.reader.accept_word("block") {
            true => self.reader.sizes()?,
            false => vec![1; rank],
        };
        Ok(LevelRule::Masked(LevelMask::new(values, &block)))
    }

    /// One list of a tensor's elements.
    fn elements<T: ListValue>(&mut self, name: &str, expected: usize) -> Parsed<Vec<T>> {
        let at = self.reader.offset();
        if self.reader.accept_word("elided") {
            let diagnostic = Diagnostic::error(
                "elided-tensor",
                format!("tensor @{name} was printed without its {expected} elements"),
            )
            .at_tensor(name)
            .with_help("print the graph without a limit on the elements");
            return self.reader.fail_with(at, diagnostic);
        }
        self.reader.punctuation('[')?;
        let values = self.reader.list(']', T::read)?;
        if values.len() != expected {
            let message = format!("{} elements, the shape needs {expected}", values.len());
            let diagnostic = Diagnostic::error("length-mismatch", message).at_tensor(name);
            return self.reader.fail_with(at, diagnostic);
        }
        Ok(values)
    }

    fn node(&mut self) -> Parsed<()> {
        let (name, at) = self.reader.value_name()?;
        self.check_new_value(&name, at)?;
        // Until the definition turns out to be right.
        self.values.insert(name.clone(), None);
        self.reader.punctuation('=')?;
        let at = self.reader.offset();
        let mnemonic = self.reader.any_word("an op")?.to_string();
        if !MNEMONICS.contains(&mnemonic.as_str()) {
            let diagnostic = Diagnostic::error("unknown-op", format!("there is no op {mnemonic}"))
                .at_node(&name, &mnemonic)
                .with_note(format!("the ops are {}", MNEMONICS.join(", ")));
            return self.reader.fail_with(at, diagnostic);
        }
        let operands = self.operands()?;
        let attributes = match self.reader.accept('{') {
            true => {
                let tensors = &self.tensors;
                let find = |tensor: &str| tensors.get(tensor).copied();
                Some(self.reader.attributes('}', &find)?)
            }
            false => None,
        };
        self.reader.punctuation(':')?;
        let declared = self.declared_type()?;
        let op = Op::from_text(&mnemonic, attributes.unwrap_or_default());
        let op = op.or_else(|message| {
            let diagnostic = Diagnostic::error("bad-attribute", message).at_node(&name, &mnemonic);
            self.reader.fail_with(at, diagnostic)
        })?;
        // An operand whose own definition was wrong: nothing more to say here.
        let operands: Vec<NodeId> = operands.into_iter().collect::<Option<_>>().ok_or(Stop)?;
        let origin = origin(&name, &mnemonic);
        let node = self
            .graph
            .add_node(&name, op, &operands, origin)
            .or_else(|error| {
                let diagnostic = Diagnostic::error("shape-mismatch", error.to_string())
                    .at_node(&name, &mnemonic);
                self.reader.fail_with(at, diagnostic)
            })?;
        let shape = self.graph.node(node).shape.clone();
        if shape != declared.shape {
            let message = format!("{mnemonic} gives f32{shape:?}, not f32{:?}", declared.shape);
            let diagnostic = Diagnostic::error("shape-mismatch", message).at_node(&name, &mnemonic);
            self.reader.report(declared.at, diagnostic);
        }
        self.graph.node_mut(node).layout = declared.layout;
        self.values.insert(name, Some(node));
        Ok(())
    }

    /// Operands before the attributes, `None` where the definition was wrong.
    fn operands(&mut self) -> Parsed<Vec<Option<NodeId>>> {
        let mut operands = Vec::new();
        if !self.reader.is_value_name() {
            return Ok(operands);
        }
        loop {
            let (operand, at) = self.reader.value_name()?;
            match self.values.get(&operand) {
                Some(node) => operands.push(*node),
                None => {
                    let message = format!("%{operand} is not defined above");
                    self.reader.error(at, "unknown-value", message);
                    operands.push(None);
                }
            }
            if !self.reader.accept(',') {
                return Ok(operands);
            }
        }
    }

    fn declared_type(&mut self) -> Parsed<Type> {
        let at = self.reader.offset();
        let shape = self.reader.shape()?;
        let layout_at = self.reader.offset();
        let read = if self.reader.accept_word("planes") {
            planes
        } else if self.reader.accept_word("strips") {
            strips
        } else if self.reader.accept_word("bands") {
            bands
        } else {
            return Ok(Type {
                shape,
                layout: Layout::Plain,
                at,
            });
        };
        self.reader.punctuation('(')?;
        let mut attributes = self.reader.attributes(')', &|_| None)?;
        let layout = read(&mut attributes).and_then(|layout| {
            attributes.finish()?;
            Ok(layout)
        });
        match layout {
            Ok(layout) => Ok(Type { shape, layout, at }),
            Err(message) => self.reader.fail(layout_at, "bad-attribute", message),
        }
    }
}

fn origin(name: &str, op_type: &str) -> Origin {
    Origin {
        name: name.to_string(),
        op_type: op_type.to_string(),
    }
}

fn size(attributes: &mut AttributeReader, name: &str) -> Result<usize, String> {
    attributes
        .size(name)?
        .ok_or_else(|| format!("the layout needs {name}=.."))
}

fn planes(attributes: &mut AttributeReader) -> Result<Layout, String> {
    Ok(Layout::Planes(Planes {
        phases: attributes.fixed("phases", [1, 1])?,
        top: size(attributes, "top")?,
        left: size(attributes, "left")?,
        pitch: size(attributes, "pitch")?,
        rows: size(attributes, "rows")?,
        plane: size(attributes, "plane")?,
        image: size(attributes, "image")?,
    }))
}

fn strips(attributes: &mut AttributeReader) -> Result<Layout, String> {
    Ok(Layout::Strips(Strips {
        pitch: size(attributes, "pitch")?,
        width: size(attributes, "width")?,
        image: size(attributes, "image")?,
    }))
}

fn bands(attributes: &mut AttributeReader) -> Result<Layout, String> {
    Ok(Layout::Bands(Bands {
        result_rows: size(attributes, "result_rows")?,
        parts: size(attributes, "parts")?,
        front: size(attributes, "front")?,
        left: size(attributes, "left")?,
        pitch: size(attributes, "pitch")?,
        rows: size(attributes, "rows")?,
        plane: size(attributes, "plane")?,
        image: size(attributes, "image")?,
    }))
}
