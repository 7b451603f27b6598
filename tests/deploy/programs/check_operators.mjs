// Checks objects of operators against the models of their definitions: a JSON list in, a JSON list of complaints out.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const packages = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};
const folder = `${process.argv[2]}/node_modules/@kubernetes-models`;

async function complaint(object) {
  const path = `${folder}/${packages[object.apiVersion.split("/")[0]]}/${object.apiVersion}/${object.kind}.js`;
  const { [object.kind]: Model } = await import(pathToFileURL(path));
  try {
    new Model(object).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

const objects = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(objects.map(complaint))));
