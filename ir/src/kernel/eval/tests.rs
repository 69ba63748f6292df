//! Expressions on vectors of every width; `backends/tests` compares the others with machine code.

use super::*;
use crate::kernel::{FunctionBuilder, verify_function};

/// What a kernel stores that gets the numbers `0, 1, ..` in two vectors of `lanes`.
fn stored(
    lanes: usize,
    body: impl FnOnce(&mut FunctionBuilder, Value, Value) -> Vec<Value>,
) -> Vec<Vec<f32>> {
    let program = Program {
        name: "t".into(),
        functions: vec![],
        data: vec![],
        steps: vec![],
        levels: vec![],
        layers: vec![],
        inputs: vec![],
        outputs: vec![],
        arena_bytes: 0,
    };
    let mut f = FunctionBuilder::new("f", &[Type::Ptr, Type::Ptr]);
    let [x, y] = f.parameters();
    let (a, b) = (f.load_lanes(lanes, x, 0), f.load_lanes(lanes, x, lanes * 4));
    let values = body(&mut f, a, b);
    for (number, &value) in values.iter().enumerate() {
        f.store_lanes(value, y, number * lanes * 4);
    }
    let function = f.finish();
    verify_function(&function).unwrap();
    let mut machine = Machine::new(&program);
    let x = machine.allocate("x", 2 * lanes * 4);
    let numbers = (0..2 * lanes).flat_map(|n| (n as f32).to_le_bytes());
    *machine.bytes_mut(x) = numbers.collect();
    let y = machine.allocate("y", values.len() * lanes * 4);
    machine.call(&function, &[x, y]).unwrap();
    let number = |c: &[u8]| f32::from_le_bytes(c.try_into().unwrap());
    let results: Vec<f32> = machine.bytes_mut(y).chunks(4).map(number).collect();
    results.chunks(lanes).map(<[f32]>::to_vec).collect()
}

#[test]
fn deinterleave_takes_every_other_lane() {
    for lanes in [1, 2, 4, 8, 16] {
        let found = stored(lanes, |f, a, b| {
            [Parity::Even, Parity::Odd]
                .map(|parity| f.deinterleave(parity, a, b))
                .to_vec()
        });
        let every_other = |first| (0..lanes).map(|i| (2 * i + first) as f32).collect();
        let expected: [Vec<f32>; 2] = [every_other(0), every_other(1)];
        assert_eq!(found, expected, "{lanes} lanes");
    }
}

#[test]
fn interleave_undoes_it() {
    for lanes in [1, 2, 4, 8, 16] {
        let found = stored(lanes, |f, a, b| {
            let even = f.deinterleave(Parity::Even, a, b);
            let odd = f.deinterleave(Parity::Odd, a, b);
            [Half::Low, Half::High]
                .map(|half| f.interleave(half, even, odd))
                .to_vec()
        });
        let numbers: Vec<f32> = (0..2 * lanes).map(|n| n as f32).collect();
        assert_eq!(found.concat(), numbers, "{lanes} lanes");
    }
}

#[test]
fn lanes_of_pairs_have_one_type() {
    let rejected = |wide: usize| {
        let mut f = FunctionBuilder::new("f", &[Type::Ptr]);
        let [x] = f.parameters();
        let (a, b) = (f.load_lanes(4, x, 0), f.load_lanes(wide, x, 0));
        f.deinterleave(Parity::Even, a, b);
        verify_function(&f.finish())
    };
    assert_eq!(rejected(4), Ok(()));
    let message = "kernel f: %2 is f32x8, expected f32x4";
    assert_eq!(rejected(8), Err(message.to_string()));
}
