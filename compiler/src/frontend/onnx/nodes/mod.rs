//! Import of ONNX nodes: one file per op type, or per family of op types that differ in a function
//! only.
//!
//! An importer composes its node from the ops of the graph IR, with the range of operator sets as a
//! `match` where a set changed the meaning. To add one: write the file, add a line to
//! [`NODE_IMPORTERS`].

mod average_pool;
mod batch_normalization;
mod binary;
mod cast;
mod clip;
mod compare;
mod concat;
mod constant;
mod constant_of_shape;
mod conv;
mod conv_transpose;
mod depth_to_space;
mod dropout;
mod expand;
mod flatten;
mod gather;
mod gelu;
mod gemm;
mod global_pool;
mod identity;
mod if_node;
mod logic;
mod lrn;
mod mat_mul;
mod max_pool;
mod modulo;
mod normalization;
mod p_relu;
mod pad;
mod range;
mod reduce;
mod reshape;
mod resize;
mod shape;
mod slice;
mod softmax;
mod space_to_depth;
mod split;
mod squeeze;
mod tile;
mod transpose;
mod unary;
mod upsample;
mod variadic;
mod where_node;
mod window;

use super::import::{Context, NodeView, Outputs};

/// How nodes of one ONNX op type are imported.
pub struct NodeImporter {
    /// ONNX op type.
    pub op_type: &'static str,
    /// Versions of the operator that are imported, by the operator set that introduced them.
    pub since: &'static [u32],
    pub(super) import: fn(&mut Context, &NodeView) -> Outputs,
}

/// All importers, sorted by op type.
pub const NODE_IMPORTERS: &[NodeImporter] = &[
    importer("Abs", &[6, 13], unary::import),
    importer("Add", &[7, 13, 14], binary::import),
    importer("And", &[7], logic::import),
    importer("AveragePool", &[7, 10, 11, 19, 22], average_pool::import),
    importer(
        "BatchNormalization",
        &[7, 9, 14, 15],
        batch_normalization::import,
    ),
    importer("Cast", &[6, 9, 13, 19, 21, 23, 24, 25, 28], cast::import),
    importer("CastLike", &[15, 19, 21, 23, 24, 25], cast::import_like),
    importer("Ceil", &[6, 13], unary::import),
    importer("Clip", &[6, 11, 12, 13], clip::import),
    importer("Concat", &[4, 11, 13], concat::import),
    importer(
        "Constant",
        &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25],
        constant::import,
    ),
    importer(
        "ConstantOfShape",
        &[9, 20, 21, 23, 24, 25],
        constant_of_shape::import,
    ),
    importer("Conv", &[1, 11, 22], conv::import),
    importer("ConvTranspose", &[1, 11, 22], conv_transpose::import),
    importer("DepthToSpace", &[1, 11, 13, 28], depth_to_space::import),
    importer("Div", &[7, 13, 14], binary::import),
    importer("Dropout", &[7, 10, 12, 13, 22], dropout::import),
    importer("Elu", &[6, 22], unary::import),
    importer("Equal", &[7, 11, 13, 19], compare::import),
    importer("Erf", &[9, 13], unary::import),
    importer("Exp", &[6, 13], unary::import),
    importer("Expand", &[8, 13], expand::import),
    importer("Flatten", &[1, 9, 11, 13, 21, 23, 24, 25], flatten::import),
    importer("Floor", &[6, 13], unary::import),
    importer("Gather", &[1, 11, 13], gather::import),
    importer("Gelu", &[20], gelu::import),
    importer("Gemm", &[7, 9, 11, 13], gemm::import),
    importer("GlobalAveragePool", &[1, 22], global_pool::import),
    importer("GlobalMaxPool", &[1, 22], global_pool::import),
    importer("Greater", &[7, 9, 13], compare::import),
    importer("GreaterOrEqual", &[12, 16], compare::import),
    importer("HardSigmoid", &[6, 22], unary::import),
    importer("HardSwish", &[14, 22], unary::import),
    importer(
        "Identity",
        &[1, 13, 14, 16, 19, 21, 23, 24, 25],
        identity::import,
    ),
    importer("If", &[1, 11, 13, 16, 19, 21, 23, 24, 25], if_node::import),
    importer("InstanceNormalization", &[6, 22], normalization::import),
    importer("LRN", &[1, 13], lrn::import),
    importer("LayerNormalization", &[17], normalization::import),
    importer("LeakyRelu", &[6, 16], unary::import),
    importer("Less", &[7, 9, 13], compare::import),
    importer("LessOrEqual", &[12, 16], compare::import),
    importer("Log", &[6, 13], unary::import),
    importer("LogSoftmax", &[1, 11, 13], softmax::import),
    importer("MatMul", &[1, 9, 13], mat_mul::import),
    importer("Max", &[6, 8, 12, 13], variadic::import),
    importer("MaxPool", &[1, 8, 10, 11, 12, 22], max_pool::import),
    importer("Min", &[6, 8, 12, 13], variadic::import),
    importer("Mod", &[10, 13, 28], modulo::import),
    importer("Mul", &[7, 13, 14], binary::import),
    importer("Neg", &[6, 13], unary::import),
    importer("Not", &[1], logic::import),
    importer("Or", &[7], logic::import),
    importer("PRelu", &[7, 9, 16], p_relu::import),
    importer("Pad", &[2, 11, 13, 18, 19, 21, 23, 24, 25], pad::import),
    importer("Pow", &[7, 12, 13, 15], binary::import),
    importer("Range", &[11, 27], range::import),
    importer("Reciprocal", &[6, 13], unary::import),
    importer("ReduceMax", &[1, 11, 12, 13, 18, 20], reduce::import),
    importer("ReduceMean", &[1, 11, 13, 18], reduce::import),
    importer("ReduceMin", &[1, 11, 12, 13, 18, 20], reduce::import),
    importer("ReduceProd", &[1, 11, 13, 18], reduce::import),
    importer("ReduceSum", &[1, 11, 13], reduce::import),
    importer("Relu", &[6, 13, 14], unary::import),
    importer("Reshape", &[5, 13, 14, 19, 21, 23, 24, 25], reshape::import),
    importer("Resize", &[10, 11, 13, 18, 19], resize::import),
    importer("Round", &[11, 22], unary::import),
    importer("Shape", &[1, 13, 15, 19, 21, 23, 24, 25], shape::import),
    importer("Sigmoid", &[6, 13], unary::import),
    importer("Size", &[1, 13, 19, 21, 23, 24, 25], shape::import),
    importer("Slice", &[1, 10, 11, 13], slice::import),
    importer("Softmax", &[1, 11, 13], softmax::import),
    importer("Softplus", &[1, 22], unary::import),
    importer("SpaceToDepth", &[1, 13, 28], space_to_depth::import),
    importer("Split", &[2, 11, 13, 18], split::import),
    importer("Sqrt", &[6, 13], unary::import),
    importer("Squeeze", &[1, 11, 13, 21, 23, 24, 25], squeeze::import),
    importer("Sub", &[7, 13, 14], binary::import),
    importer("Sum", &[6, 8, 13], variadic::import),
    importer("Tanh", &[6, 13], unary::import),
    importer("Tile", &[6, 13], tile::import),
    importer("Transpose", &[1, 13, 21, 23, 24, 25], transpose::import),
    importer("Unsqueeze", &[1, 11, 13, 21, 23, 24, 25], squeeze::import),
    importer("Upsample", &[7, 9], upsample::import),
    importer("Where", &[9, 16], where_node::import),
    importer("Xor", &[7], logic::import),
];

const fn importer(
    op_type: &'static str,
    since: &'static [u32],
    import: fn(&mut Context, &NodeView) -> Outputs,
) -> NodeImporter {
    NodeImporter {
        op_type,
        since,
        import,
    }
}

/// The importer of an op type.
pub(super) fn find(op_type: &str) -> Option<&'static NodeImporter> {
    let at = NODE_IMPORTERS
        .binary_search_by(|importer| importer.op_type.cmp(op_type))
        .ok()?;
    Some(&NODE_IMPORTERS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_sorted() {
        assert!(NODE_IMPORTERS.is_sorted_by(|a, b| a.op_type < b.op_type));
        assert!(
            NODE_IMPORTERS
                .iter()
                .all(|importer| importer.since.is_sorted_by(|a, b| a < b))
        );
    }
}
