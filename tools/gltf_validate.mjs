// Holds GLB files against the Khronos validator: one line for each file, exit status 1 on errors.
//
//   npm install gltf-validator            (once, in any folder)
//   NODE_PATH=that/folder/node_modules node tools/gltf_validate.mjs FILE.glb...
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const validator = createRequire(import.meta.url)("gltf-validator");
let failed = false;
for (const path of process.argv.slice(2)) {
  const { issues } = await validator.validateBytes(new Uint8Array(readFileSync(path)), { maxIssues: 100 });
  const codes = new Map();
  for (const { code, severity } of issues.messages) {
    if (severity < 2) codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  const told = [...codes].map(([code, count]) => `${code} x${count}`).join(", ");
  console.log(`${path}: ${issues.numErrors} errors, ${issues.numWarnings} warnings ${told}`);
  failed ||= issues.numErrors > 0;
}
process.exit(failed ? 1 : 0);
