//! Archives, whole and damaged.

use super::*;

fn sample() -> Vec<NpzArray> {
    vec![
        NpzArray::f32("x", &[2, 3], vec![0.0, -1.5, 2.0, f32::INFINITY, 4.0, 5.0]),
        NpzArray::i64("y", &[], vec![-7]),
        NpzArray {
            name: "w__level".into(),
            shape: vec![4],
            elems: NpzElems::U8(vec![0, 1, 2, 255]),
        },
        NpzArray::f32("empty", &[0, 4], vec![]),
    ]
}

/// A `.npy` file with this header and data, alone in a stored archive.
fn archive_of(header: &str, data: &[u8]) -> Vec<u8> {
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend(data);
    let mut bytes = Cursor::new(Vec::new());
    let mut zip = npyz::zip::ZipWriter::new(&mut bytes);
    zip.start_file("a.npy", Default::default()).unwrap();
    std::io::Write::write_all(&mut zip, &npy).unwrap();
    zip.finish().unwrap();
    drop(zip);
    bytes.into_inner()
}

#[test]
fn arrays_survive_the_round_trip() {
    let bytes = write_npz(&sample()).unwrap();
    assert_eq!(read_npz(&bytes).unwrap(), sample());
    assert_eq!(
        write_npz(&sample()).unwrap(),
        bytes,
        "same arrays, same bytes"
    );
}

#[test]
fn number_types_and_column_major_order_are_read() {
    let f64s = |values: &[f64]| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let header = "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n";
    let bytes = archive_of(header, &f64s(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    let expected = NpzArray::f32("a", &[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(read_npz(&bytes).unwrap(), [expected]);

    let header = "{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }\n";
    let arrays = read_npz(&archive_of(header, &[0xff, 0xfe, 0, 7])).unwrap();
    assert_eq!(arrays[0].to_i64_vec().unwrap(), [-2, 7]);

    let header = "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }\n";
    let arrays = read_npz(&archive_of(header, &[0, 1])).unwrap();
    assert_eq!(arrays[0].to_f32_vec().unwrap(), [0.0, 1.0]);

    let header = "{'descr': '<u8', 'fortran_order': False, 'shape': (1,), }\n";
    let error = read_npz(&archive_of(header, &[0xff; 8])).unwrap_err();
    assert!(error.to_string().contains("beyond the range"), "{error}");
}

#[test]
fn strings_are_kept_apart_from_numbers() {
    let header = "{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }\n";
    let arrays = read_npz(&archive_of(header, &[b'L', 0, 0, 0, b'0', 0, 0, 0])).unwrap();
    assert_eq!(arrays[0].elems, NpzElems::Other("'<U2'".into()));
    let error = arrays[0].to_f32_vec().unwrap_err().to_string();
    assert_eq!(
        error,
        "array `a`: elements of type '<U2' where numbers are needed"
    );
}

#[test]
fn hostile_headers_are_refused() {
    let shape = |shape: &str| {
        archive_of(
            &format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"),
            &[0; 16],
        )
    };
    for bytes in [
        shape("(4294967296, 4294967296, 4294967296)"),
        shape("(0, 4294967296, 4294967296, 4294967296)"),
        shape("(99999999999999999999999999,)"),
        shape("(-4,)"),
        shape("(5,)"),
        shape("(1000000000000,)"),
        shape(&"(".repeat(5000)),
        archive_of("{}", &[]),
        archive_of("", &[]),
    ] {
        let error = read_npz(&bytes).unwrap_err();
        assert!(
            matches!(error, NpzError::Header { .. } | NpzError::Data { .. }),
            "{error}"
        );
    }
}

#[test]
fn damaged_archives_are_errors() {
    let bytes = write_npz(&sample()).unwrap();
    for len in 0..bytes.len() {
        assert!(read_npz(&bytes[..len]).is_err(), "cut at {len}");
    }
    for at in 0..bytes.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            // Changed names and times go unnoticed; nothing may panic.
            let _ = read_npz(&damaged);
        }
    }
    assert!(matches!(read_npz(b"PK"), Err(NpzError::Archive { .. })));
    let missing = read_npz_file(Path::new("/nonexistent.npz")).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("cannot read /nonexistent.npz")
    );
}

#[test]
fn a_shape_that_does_not_fit_is_not_written() {
    let wrong = NpzArray::f32("x", &[2, 2], vec![0.0; 3]);
    assert!(matches!(
        write_npz(&[wrong]),
        Err(NpzError::WrongLength { n_elems: 3, .. })
    ));
}
