//! What is known of each pixel before anything is drawn. First where it lies in the space of the object: on the plane
//! through the middle that faces the camera. A network that sees this beside the noise need not learn what turning the
//! camera does: the back of a chair is behind its seat on every side. Then the colour behind the object, which no text
//! tells and which would be most of what is uncertain.
//! Leaves out what a network is told of the camera as a whole: see `condition`.

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_data::CameraRecord;
use glam::{Mat3, Vec3};

/// Place, the direction to the camera, a constant, which tells a known camera from none, and the colour behind.
pub const VIEW_CHANNELS: usize = 10;

/// By what all of the camera is multiplied: Adam moves all weights alike, so what is larger is heeded sooner.
const LOUDNESS: f32 = 8.0;

/// For each channel what it gains to the right, upwards, and what it has in the middle.
pub(crate) const FRAME: usize = 3 * VIEW_CHANNELS;

/// What `camera` sees at (u, v), from -1 to 1: rows of `VIEW_CHANNELS` values to be multiplied by u, by v, and by 1. The
/// middle of the object is 0, y is up, and a camera of azimuth 0 is on the axis z. `behind` is sRGB in [0, 1].
pub(crate) fn frame(camera: Option<&CameraRecord>, behind: [f32; 3]) -> [f32; FRAME] {
    let mut frame = [0.0; FRAME];
    for (to, color) in frame[FRAME - 3..].iter_mut().zip(behind) {
        *to = 2.0 * color - 1.0;
    }
    let Some(camera) = camera else {
        return frame;
    };
    let turn = Mat3::from_rotation_y(camera.azimuth.to_radians())
        * Mat3::from_rotation_x(-camera.elevation.to_radians());
    let half = camera.distance * (camera.fov.to_radians() / 2.0).tan();
    let mut put = |at: usize, axis: Vec3| {
        frame[at..at + 3].copy_from_slice(&(LOUDNESS * axis).to_array());
    };
    put(0, half * turn.x_axis);
    put(VIEW_CHANNELS, half * turn.y_axis);
    put(2 * VIEW_CHANNELS + 3, turn.z_axis);
    frame[2 * VIEW_CHANNELS + 6] = LOUDNESS;
    frame
}

/// The maps `[B, VIEW_CHANNELS, H, W]` of `frames` `[B, FRAME]`, at the middles of pixels.
pub(crate) fn view_maps(frames: &Tensor<2>, [height, width]: [usize; 2]) -> Tensor<4> {
    let device = frames.device();
    let [batch, _] = frames.dims();
    let axis = |i: usize| {
        let part = i * VIEW_CHANNELS..(i + 1) * VIEW_CHANNELS;
        let part = frames.clone().slice([0..batch, part]);
        part.reshape([batch, VIEW_CHANNELS, 1, 1])
    };
    let right = middles(width, &device).reshape([1, 1, 1, width]);
    let up = middles(height, &device).neg().reshape([1, 1, height, 1]);
    axis(0) * right + axis(1) * up + axis(2)
}

/// The middles of `n` parts of the way from -1 to 1.
fn middles(n: usize, device: &Device) -> Tensor<1> {
    let middle = |i: usize| (2 * i + 1) as f32 / n as f32 - 1.0;
    Tensor::from_data(
        TensorData::from(&*Vec::from_iter((0..n).map(middle))),
        device,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the map of one camera before orange, 2x2 pixels: the values of a pixel.
    fn at(camera: &CameraRecord, x: usize, y: usize) -> Vec<f32> {
        let device = Device::flex();
        let frames = TensorData::new(frame(Some(camera), [1.0, 0.5, 0.0]).to_vec(), [1, FRAME]);
        let map = view_maps(&Tensor::from_data(frames, &device), [2, 2]);
        let values: Vec<f32> = map.to_data().iter::<f32>().collect();
        values.chunks(4).map(|plane| plane[2 * y + x]).collect()
    }

    fn near(found: &[f32], expected: [f32; 7]) {
        let loud = expected.into_iter().map(|x| LOUDNESS * x);
        for (a, b) in found.iter().zip(loud.chain([1.0, 0.0, -1.0])) {
            assert!((a - b).abs() < 1e-5, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn pixels_lie_where_the_camera_sees_them() {
        let mut camera = CameraRecord {
            azimuth: 0.0,
            elevation: 0.0,
            distance: 2.0,
            fov: 90.0,
        };
        // A quarter of a picture of 4 x 4: the upper right one.
        near(&at(&camera, 1, 0), [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        // From the right, what is right in the picture is behind.
        camera.azimuth = 90.0;
        near(&at(&camera, 1, 0), [0.0, 1.0, -1.0, 1.0, 0.0, 0.0, 1.0]);
        // From above, what is up in the picture is behind.
        (camera.azimuth, camera.elevation) = (0.0, 90.0);
        near(&at(&camera, 1, 0), [1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0]);
    }
}
