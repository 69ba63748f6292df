mod support;
use support::loaded::*;
use support::micro_kernel::*;
#[test]
fn explore() {
    for (r, v) in [(4,2),(5,2),(1,8),(4,3)] {
        let p = list_program(Tile{rows:r,vectors:v,lanes:4}, 256);
        let t = condensec_backends::targets::resolve("x86_64", None, &[] as &[&str]).unwrap();
        let l = build(&p, &t);
        std::fs::write(format!("/tmp/ex/{r}x{v}.o"), &l.objects[0].bytes).unwrap();
        std::fs::write(format!("/tmp/ex/{r}x{v}.data.o"), &l.objects[1].bytes).unwrap();
        let loaded = Loaded::for_target(&p, &t);
        let x: Vec<f32> = (0..256 * v*4).map(|i| (i % 13) as f32 - 6.0).collect();
        let mut best = f64::MAX;
        for _ in 0..500 {
            let t = std::time::Instant::now();
            for _ in 0..100 { loaded.run(&[&x]); }
            best = best.min(t.elapsed().as_secs_f64() / 100.0);
        }
        println!("{r}x{v}: {:.1} GFLOP/s", 2.0*256.0*(r*v*4) as f64/best*1e-9);
    }
    // fma peak: dependent chains
}
