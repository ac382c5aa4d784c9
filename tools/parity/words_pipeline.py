"""A pipeline of diffusers for the models of dreamsmith that read words: it sees pixels, often as patches, through a
BERT or T5 encoder, and knows from where an object is seen. Leaves out weights of words and enlarging stages.

    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(
        "models/NAME", custom_pipeline="tools/parity/words_pipeline.py", trust_remote_code=True
    )
    pipe("a red armchair", view="back", guidance_scale=3).images[0].save("armchair.png")
"""

import math

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from PIL import Image

# Azimuth and elevation in degrees of each view.
VIEWS = {"front": (0, 20), "side": (90, 20), "back": (180, 20), "overhead": (0, 65)}
# Degrees that the camera sees; at this distance an object of radius 1 fills the picture but for a margin.
FOV = 40
DISTANCE = 1.075 / math.sin(math.radians(FOV) / 2)
CAMERA_FEATURES = 7
# Of a view map: a place, the direction to the camera, 1 for a known camera, and the colour behind.
CAMERA_KNOWN, BEHIND = 6, slice(7, 10)
# By what all of the camera is multiplied.
LOUDNESS = 8


class WordsPipeline(DiffusionPipeline):
    def __init__(self, unet: UNet2DConditionModel, scheduler: DDIMScheduler, text_encoder, tokenizer, text_tokens: int = 32):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, text_encoder=text_encoder, tokenizer=tokenizer)
        self.register_to_config(text_tokens=text_tokens)

    @torch.inference_mode()
    def __call__(self, prompt="", view=None, negative="", guidance_scale=1.0, num_inference_steps=20, latents=None):
        """Draws one picture for each of `latents`, unit noise [count, C, h, w] as the network sees it."""
        if latents is None:
            side = self.unet.config.sample_size
            latents = torch.randn(1, self.unet.config.out_channels, side, side)
        cond, uncond = self.told(prompt, view, len(latents)), self.told(negative, None, len(latents))
        seen, unseen = self.view_map(view, latents), self.view_map(None, latents)
        self.scheduler.set_timesteps(num_inference_steps)
        x = latents
        for t in self.progress_bar(self.scheduler.timesteps):
            output = self.unet(torch.cat([x, seen], 1), t, **cond).sample
            if guidance_scale != 1:
                without = self.unet(torch.cat([x, unseen], 1), t, **uncond).sample
                output = without + guidance_scale * (output - without)
            # Where the model clips x0, dreamsmith takes eps from the clipped one.
            x = self.scheduler.step(output, t, x, eta=0.0, use_clipped_model_output=True).prev_sample
        # Channel c p^2 + i p + j holds pixel (y p + i, x p + j) of colour c.
        pixels = torch.nn.functional.pixel_shuffle(x, math.isqrt(x.shape[1] // 3))
        pixels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
        return ImagePipelineOutput(images=[Image.fromarray(image) for image in pixels.cpu().numpy()])

    def told(self, prompt, view, count):
        """The states of a prompt, and its mean state with the camera. What is not told is zeros."""
        width = self.text_encoder.config.hidden_size
        states, pooled, camera = torch.zeros(1, 1, width), torch.zeros(1, width), torch.zeros(1, CAMERA_FEATURES)
        if prompt:
            limit = self.config.text_tokens
            tokens = self.tokenizer(prompt, return_tensors="pt", truncation=True, max_length=limit)
            states = self.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
            pooled = states.mean(1)
        if view:
            azimuth, elevation = (math.radians(angle) for angle in VIEWS[view])
            angles = [math.sin(azimuth), math.cos(azimuth), math.sin(elevation), math.cos(elevation)]
            camera = torch.tensor([[*angles, math.log(DISTANCE), math.radians(FOV), 1.0]])
        vector = torch.cat([pooled, camera], 1)
        return {"encoder_hidden_states": states.repeat(count, 1, 1), "class_labels": vector.repeat(count, 1)}

    def view_map(self, view, latents):
        """For each pixel its place on the plane through the middle of the object that faces the camera, before white;
        zeros where no camera is known; no channels for a network that has none for it."""
        count, channels, height, width = latents.shape
        places = torch.zeros(count, self.unet.config.in_channels - channels, height, width)
        if not places.shape[1]:
            return places
        places[:, BEHIND] = 1.0
        if not view:
            return places
        azimuth, elevation = (math.radians(angle) for angle in VIEWS[view])
        toward = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
        right = [math.cos(azimuth), 0.0, -math.sin(azimuth)]
        up = [-math.sin(azimuth) * math.sin(elevation), math.cos(elevation), -math.cos(azimuth) * math.sin(elevation)]
        half = DISTANCE * math.tan(math.radians(FOV) / 2)
        u = (2 * torch.arange(width) + 1) / width - 1
        v = 1 - (2 * torch.arange(height) + 1) / height
        for axis in range(3):
            places[:, axis] = LOUDNESS * half * (right[axis] * u[None, :] + up[axis] * v[:, None])
            places[:, 3 + axis] = LOUDNESS * toward[axis]
        places[:, CAMERA_KNOWN] = LOUDNESS
        return places
