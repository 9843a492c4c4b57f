package main

import (
	"context"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// As in a Kustomization's healthCheckExprs.
type checks = kustomize.HealthCheckExpressions

func byFlux(object *unstructured.Unstructured, wanted checks) (verdict, error) {
	evaluator, err := cel.NewStatusEvaluator(&wanted)
	if err != nil {
		return verdict{}, err
	}
	result, err := evaluator.Evaluate(context.Background(), object)
	if err != nil {
		// Flux takes an object that an expression cannot be evaluated on for one it knows nothing of, and waits.
		return verdict{Status: status.UnknownStatus.String(), Message: err.Error()}, nil
	}
	return verdict{Status: result.Status.String()}, nil
}
