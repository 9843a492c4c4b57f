// Judges FinetuneJobs as GitOps tools do: kstatus by its own library, Flux's health check expressions by Flux's own
// evaluator, Argo CD's health script by the Lua interpreter that Argo CD embeds.
//
// Reads a question as JSON from standard input and writes the verdicts to standard output.
package main

import (
	"encoding/json"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type question struct {
	Objects map[string]*unstructured.Unstructured `json:"objects"`
	Script  string                                `json:"script"`
	Checks  checks                                `json:"checks"`
}

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type verdicts struct {
	Kstatus verdict `json:"kstatus"`
	Flux    verdict `json:"flux"`
	ArgoCD  verdict `json:"argocd"`
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		log.Fatal(err)
	}
	answer := map[string]verdicts{}
	for name, object := range asked.Objects {
		found, err := judge(object, asked)
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		answer[name] = found
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		log.Fatal(err)
	}
}

func judge(object *unstructured.Unstructured, asked question) (found verdicts, err error) {
	if found.Kstatus, err = byKstatus(object); err != nil {
		return
	}
	if found.Flux, err = byFlux(object, asked.Checks); err != nil {
		return
	}
	found.ArgoCD, err = byArgoCD(object, asked.Script)
	return
}
