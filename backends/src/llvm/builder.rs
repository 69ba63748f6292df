//! Appends MLIR operations to the innermost open block.
//!
//! melior ties a value to a borrow of the block that holds its operation, which no translator with
//! open regions can satisfy. Here values and blocks are kept by their raw handles and revived when
//! they are used; that is sound because every block stays where it is until the module is dropped:
//! a region only moves as a whole, into the operation that owns it.

use melior::Context;
use melior::ir::attribute::{
    DenseI32ArrayAttribute, FlatSymbolRefAttribute, IntegerAttribute, StringAttribute,
};
use melior::ir::block::BlockLike;
use melior::ir::operation::OperationBuilder;
use melior::ir::r#type::IntegerType;
use melior::ir::{
    Attribute, Block, BlockRef, Identifier, Location, Module, Region, RegionLike, Type, TypeLike,
    Value, ValueLike,
};

/// A value of the module under construction.
pub(super) type Handle<'c> = Value<'c, 'c>;

/// See the module.
pub(super) struct Builder<'c> {
    context: &'c Context,
    location: Location<'c>,
    /// Open blocks, the innermost last.
    blocks: Vec<BlockRef<'c, 'c>>,
    /// Integer as wide as a pointer.
    pub index: Type<'c>,
    pub i32: Type<'c>,
    pub f32: Type<'c>,
    pub bool: Type<'c>,
    pub ptr: Type<'c>,
}

impl<'c> Builder<'c> {
    /// A builder without an open block, for pointers of `pointer_bytes`.
    pub fn new(context: &'c Context, pointer_bytes: usize) -> Self {
        let int = |bits: usize| IntegerType::new(context, bits as u32).into();
        Self {
            context,
            location: Location::unknown(context),
            blocks: Vec::new(),
            index: int(8 * pointer_bytes),
            i32: int(32),
            f32: Type::float32(context),
            bool: int(1),
            ptr: Type::parse(context, "!llvm.ptr").expect("a type of MLIR"),
        }
    }

    /// Integer of `bits` bits.
    pub fn int(&self, bits: u32) -> Type<'c> {
        IntegerType::new(self.context, bits).into()
    }

    /// An attribute from its text, which is a constant of this back end.
    pub fn attribute(&self, text: &str) -> Attribute<'c> {
        Attribute::parse(self.context, text).unwrap_or_else(|| panic!("attribute {text}"))
    }

    /// A name as an attribute.
    pub fn string(&self, text: &str) -> Attribute<'c> {
        StringAttribute::new(self.context, text).into()
    }

    /// A reference to a symbol.
    pub fn symbol(&self, name: &str) -> Attribute<'c> {
        FlatSymbolRefAttribute::new(self.context, name).into()
    }

    /// An array of 32-bit integers, as segment sizes are written.
    pub fn i32_array(&self, values: &[i32]) -> Attribute<'c> {
        DenseI32ArrayAttribute::new(self.context, values).into()
    }

    /// `value` as an attribute of type `ty`.
    pub fn integer(&self, ty: Type<'c>, value: i64) -> Attribute<'c> {
        IntegerAttribute::new(ty, value).into()
    }

    /// Appends an operation with one result.
    pub fn value(
        &self,
        name: &str,
        operands: &[Handle<'c>],
        ty: Type<'c>,
        attributes: &[(&str, Attribute<'c>)],
    ) -> Handle<'c> {
        self.operation(name, operands, &[ty], attributes, Vec::new())[0]
    }

    /// Appends an operation without a result.
    pub fn effect(
        &self,
        name: &str,
        operands: &[Handle<'c>],
        attributes: &[(&str, Attribute<'c>)],
    ) {
        self.operation(name, operands, &[], attributes, Vec::new());
    }

    /// Appends an operation; returns its results.
    pub fn operation(
        &self,
        name: &str,
        operands: &[Handle<'c>],
        results: &[Type<'c>],
        attributes: &[(&str, Attribute<'c>)],
        regions: Vec<Region<'c>>,
    ) -> Vec<Handle<'c>> {
        let attributes: Vec<_> = attributes
            .iter()
            .map(|&(name, value)| (Identifier::new(self.context, name), value))
            .collect();
        let operation = OperationBuilder::new(name, self.location)
            .add_operands(operands)
            .add_results(results)
            .add_attributes(&attributes)
            .add_regions_vec(regions)
            .build()
            .expect("an operation without inferred results builds");
        let block = self.blocks.last().expect("a block is open");
        let operation = block.append_operation(operation);
        (0..results.len())
            .map(|i| revive(operation.result(i).expect("as many results as types")))
            .collect()
    }

    /// Opens a block with arguments of `types` in a region of its own: what is appended from now on
    /// goes there, until [`Builder::close`].
    pub fn open(&mut self, types: &[Type<'c>]) -> (Region<'c>, Vec<Handle<'c>>) {
        let arguments: Vec<_> = types.iter().map(|&ty| (ty, self.location)).collect();
        let region = Region::new();
        let block = region.append_block(Block::new(&arguments));
        let arguments = (0..types.len())
            .map(|i| revive(block.argument(i).expect("as many arguments as types")))
            .collect();
        // SAFETY: see the module: the block stays where it is, inside `region`.
        let block = unsafe { BlockRef::from_raw(block.to_raw()) };
        self.blocks.push(block);
        (region, arguments)
    }

    /// Leaves the innermost open block.
    pub fn close(&mut self) {
        self.blocks.pop();
    }

    /// Opens the body of a module for good.
    pub fn enter(&mut self, module: &Module<'c>) {
        // SAFETY: the caller keeps the module, and with it its body, as long as the builder.
        let body = unsafe { BlockRef::from_raw(module.body().to_raw()) };
        self.blocks.push(body);
    }
}

fn revive<'c>(value: impl ValueLike<'c>) -> Handle<'c> {
    // SAFETY: see the module: the value lives as long as the module, which lives as long as `'c`.
    unsafe { Value::from_raw(value.to_raw()) }
}

/// `lanes` elements of `element`.
pub(super) fn vector<'c>(lanes: u8, element: Type<'c>) -> Type<'c> {
    debug_assert!(!element.is_vector());
    Type::vector(&[u64::from(lanes)], element)
}
