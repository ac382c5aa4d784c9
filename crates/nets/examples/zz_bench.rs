use burn::tensor::{Device, Tensor, Distribution, activation, module as op};
use burn::tensor::ops::*;
use std::time::Instant;

fn time(name: &str, n: usize, mut f: impl FnMut()) {
    f();
    let mut best = f64::MAX;
    for _ in 0..n { let t = Instant::now(); f(); best = best.min(t.elapsed().as_secs_f64()); }
    println!("{name:40} {:8.2} ms", best * 1e3);
}
fn both(name: &str, x: [usize; 4], f: impl Fn(Tensor<4>) -> Tensor<4>) {
    let dev = Device::flex();
    let t = Tensor::<4>::random(x, Distribution::Normal(0.0, 1.0), &dev);
    time(&format!("{name} fwd"), 7, || { let _ = f(t.clone()); });
    let ad = Device::flex().autodiff();
    let t2 = Tensor::<4>::from_data(t.clone().into_data(), &ad).require_grad();
    let y = f(t2.clone());
    let g = Tensor::<4>::from_data(Tensor::<4>::random(y.dims(), Distribution::Normal(0.0, 1.0), &dev).into_data(), &ad);
    time(&format!("{name} fwd+bwd"), 7, || { let y = f(t2.clone()); let l = (y * g.clone()).sum(); let _ = l.backward(); });
}
fn main() {
    let which = std::env::args().nth(1).unwrap_or_default();
    let s = [32usize, 64, 32, 32]; // 2M floats
    if which.is_empty() || which == "el" {
    both("mul by self (base)", s, |x| x.clone() * x);
    both("add scalar", s, |x| x + 1.0);
    both("silu", s, activation::silu);
    both("silu x/(1+exp(-x))", s, |x| x.clone() / ((-x).exp() + 1.0));
    both("silu tanh", s, |x| { let h = x * 0.5; h.clone() * h.clone().tanh() + h });
    both("sigmoid", s, activation::sigmoid);
    both("relu", s, activation::relu);
    both("exp", s, |x| x.exp());
    both("hard_swish", s, activation::hard_swish);
    both("gelu", s, activation::gelu);
    let gn = |x: Tensor<4>, v: usize| {
        let [b, c, h, w] = x.dims(); let dev = x.device(); let g = 32;
        let wt = Tensor::<1>::ones([c], &dev); let bs = Tensor::<1>::ones([c], &dev);
        match v {
            0 => { let x = x.reshape([b, g, c / g * h * w]); let ce = x.clone() - x.mean_dim(2); let va = ce.clone().square().mean_dim(2);
                let n = ce / (va + 1e-5).sqrt(); (n.reshape([b, c, h * w]) * wt.reshape([1, c, 1]) + bs.reshape([1, c, 1])).reshape([b, c, h, w]) }
            1 => { let x = x.reshape([1, b * g, c / g * h * w]); let n = op::batch_norm_train(x, Tensor::ones([b * g], &dev), Tensor::zeros([b * g], &dev), 1e-5).output;
                (n.reshape([b, c, h * w]) * wt.reshape([1, c, 1]) + bs.reshape([1, c, 1])).reshape([b, c, h, w]) }
            2 => { let n = c / g * h * w; let x = x.reshape([b, g, n]); let m = x.clone().mean_dim(2); let ce = x - m; let va = (ce.clone() * ce.clone()).mean_dim(2);
                let r = (va + 1e-5).sqrt().recip().reshape([b, g, 1]);
                let a = (r.expand([b, g, c / g]).reshape([b, c, 1])) * wt.reshape([1, c, 1]);
                (ce.reshape([b, c, h * w]) * a + bs.reshape([1, c, 1])).reshape([b, c, h, w]) }
            3 => { // moments by sums, fold all into one scale and shift
                let n = c / g * h * w; let x3 = x.clone().reshape([b, g, n]); let m = x3.clone().mean_dim(2); let m2 = (x3.clone() * x3).mean_dim(2);
                let r = (m2 - m.clone() * m.clone() + 1e-5).sqrt().recip();
                let a = r.clone().expand([b, g, c / g]).reshape([b, c, 1]) * wt.reshape([1, c, 1]);
                let sh = bs.reshape([1, c, 1]) - m.expand([b, g, c / g]).reshape([b, c, 1]) * a.clone();
                (x.reshape([b, c, h * w]) * a + sh).reshape([b, c, h, w]) }
            4 => { let n = c / g * h * w; let x = x.reshape([b * g, n]); let n = op::layer_norm(x, Tensor::ones([n], &dev), None, 1e-5);
                (n.reshape([b, c, h * w]) * wt.reshape([1, c, 1]) + bs.reshape([1, c, 1])).reshape([b, c, h, w]) }
            5 => { // statistics by one matmul with ones, detached style
                let n = c / g * h * w; let x3 = x.clone().reshape([b * g, n]); let ones = Tensor::<2>::ones([n, 1], &dev) / n as f64;
                let m = x3.clone().matmul(ones.clone()); let ce = x3 - m; let va = (ce.clone() * ce.clone()).matmul(ones);
                let r = (va + 1e-5).sqrt().recip().reshape([b, g, 1]);
                let a = (r.expand([b, g, c / g]).reshape([b, c, 1])) * wt.reshape([1, c, 1]);
                (ce.reshape([b, c, h * w]) * a + bs.reshape([1, c, 1])).reshape([b, c, h, w]) }
            _ => x,
        }
    };
    for v in 0..6 { both(&format!("group norm {v}"), s, |x| gn(x, v)); }
    }
    if which.is_empty() || which == "re" {
    let s2 = [32usize, 64, 16, 16];
    both("double expand", s2, |x| { let [b, c, h, w] = x.dims(); x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]).reshape([b, c, 2 * h, 2 * w]) });
    both("double interpolate", s2, |x| op::interpolate(x, InterpolateOptions::new(InterpolateMode::Nearest).with_scale_factor([2.0, 2.0])));
    both("halve pool", s, |x| op::avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2])));
    both("halve reshape", s, |x| { let [b, c, h, w] = x.dims(); x.reshape([b, c, h / 2, 2, w / 2, 2]).mean_dim(5).mean_dim(3).reshape([b, c, h / 2, w / 2]) });
    let dev = Device::flex().autodiff();
    let wt = Tensor::<4>::random([64, 64, 3, 3], Distribution::Normal(0.0, 0.1), &dev).require_grad();
    let b = Tensor::<1>::random([64], Distribution::Normal(0.0, 0.1), &dev).require_grad();
    both("conv3x3 64->64 @32", s, |x| { let (w, b) = if x.is_autodiff() { (wt.clone(), b.clone()) } else { (wt.clone().without_autodiff(), b.clone().without_autodiff()) };
        op::conv2d(x, w, Some(b), ConvOptions::new([1, 1], [1, 1], [1, 1], 1)) });
    let wt = Tensor::<4>::random([256, 256, 3, 3], Distribution::Normal(0.0, 0.1), &dev).require_grad();
    both("conv3x3 256->256 @8", [32, 256, 8, 8], |x| { let w = if x.is_autodiff() { wt.clone() } else { wt.clone().without_autodiff() };
        op::conv2d(x, w, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1)) });
    let wt = Tensor::<4>::random([64, 128, 1, 1], Distribution::Normal(0.0, 0.1), &dev).require_grad();
    both("conv1x1 128->64 @32", [32, 128, 32, 32], |x| { let w = if x.is_autodiff() { wt.clone() } else { wt.clone().without_autodiff() };
        op::conv2d(x, w, None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1)) });
    both("conv1x1 as matmul", [32, 128, 32, 32], |x| { let w = if x.is_autodiff() { wt.clone() } else { wt.clone().without_autodiff() };
        let [b, c, h, ww] = x.dims(); w.reshape([1, 64, 128]).expand([b, 64, 128]).matmul(x.reshape([b, c, h * ww])).reshape([b, 64, h, ww]) });
    both("cat 64+64 @32", s, |x| Tensor::cat(vec![x.clone(), x], 1));
    }
    if which.is_empty() || which == "at" {
    // x is [B, C, 16, 16] pixels, qkv + attention + out
    for (c, hd, hw) in [(128usize, 32usize, 16usize), (256, 64, 8)] {
    let dev = Device::flex().autodiff();
    let ws: Vec<Tensor<2>> = (0..4).map(|_| Tensor::<2>::random([c, c], Distribution::Normal(0.0, 0.1), &dev).require_grad()).collect();
    let get = |x: &Tensor<4>, i: usize| if x.is_autodiff() { ws[i].clone() } else { ws[i].clone().without_autodiff() };
    let heads = c / hd;
    for v in 0..4 {
        both(&format!("attention {v} c{c} {hw}x{hw}"), [32, c, hw, hw], |x| {
            let [b, c, h, w] = x.dims(); let n = h * w;
            if v == 0 || v == 1 || v == 3 {
                let t = x.clone().reshape([b, c, n]).swap_dims(1, 2);
                let t = if v == 3 { (t * 1.0).reshape([b, n, c]) } else { t };
                let sp = |i: usize| op::linear(t.clone(), get(&x, i).transpose(), None).reshape([b, n, heads, hd]).swap_dims(1, 2);
                let (q, k, vv) = (sp(0), sp(1), sp(2));
                let o = if v == 0 { op::attention(q, k, vv, None, None, AttentionModuleOptions::default()) } else {
                    activation::softmax((q * (hd as f64).powf(-0.5)).matmul(k.swap_dims(2, 3)), 3).matmul(vv) };
                op::linear(o.swap_dims(1, 2).reshape([b, n, c]), get(&x, 3).transpose(), None).swap_dims(1, 2).reshape([b, c, h, w])
            } else {
                let t = x.clone().reshape([b, c, n]);
                let sp = |i: usize| get(&x, i).reshape([1, c, c]).expand([b, c, c]).matmul(t.clone()).reshape([b, heads, hd, n]);
                let (q, k, vv) = (sp(0), sp(1), sp(2));
                let a = activation::softmax(q.swap_dims(2, 3).matmul(k * (hd as f64).powf(-0.5)), 3); // [b,heads,nq,nk]
                let o = vv.matmul(a.swap_dims(2, 3)).reshape([b, c, n]);
                get(&x, 3).reshape([1, c, c]).expand([b, c, c]).matmul(o).reshape([b, c, h, w])
            }
        });
    }}
    }
}
