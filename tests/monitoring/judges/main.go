// Judges what the chart gives to Prometheus and Grafana by their own code: expressions by Prometheus' parser, dashboards
// by the types that Grafana generates from its schema, strictly. promtool, of the same module, judges the rules.
//
// Reads a question as JSON from standard input and writes the verdicts to standard output.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type question struct {
	Expressions []string                   `json:"expressions"`
	Dashboards  map[string]json.RawMessage `json:"dashboards"`
}

// A series that an expression reads: its metric, and the labels that it is chosen by.
type series struct {
	Metric string   `json:"metric"`
	Labels []string `json:"labels"`
}

type answer struct {
	Series map[string][]series `json:"series"`
	Faults map[string]string   `json:"faults"`
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		log.Fatal(err)
	}
	found := answer{Series: map[string][]series{}, Faults: map[string]string{}}
	for _, expression := range asked.Expressions {
		read, err := read(expression)
		if err != nil {
			found.Faults[expression] = err.Error()
		}
		found.Series[expression] = read
	}
	plugins.RegisterDefaultPlugins()
	for name, raw := range asked.Dashboards {
		if err := judge(raw); err != nil {
			found.Faults[name] = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func read(expression string) (found []series, err error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			one := series{Metric: selector.Name, Labels: []string{}}
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name != labels.MetricName {
					one.Labels = append(one.Labels, matcher.Name)
				}
			}
			found = append(found, one)
		}
		return nil
	})
	return
}

// The generated decoders return an empty list of errors where there is none, and look into no field configuration.
func judge(raw json.RawMessage) error {
	var strict, board dashboard.Dashboard
	if err := strict.UnmarshalJSONStrict(raw); err != nil && err.Error() != "" {
		return err
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		return err
	}
	var parts struct {
		Panels []struct {
			Title       string          `json:"title"`
			FieldConfig json.RawMessage `json:"fieldConfig"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for _, panel := range parts.Panels {
		var fields dashboard.FieldConfigSource
		if err := fields.UnmarshalJSONStrict(panel.FieldConfig); err != nil && err.Error() != "" {
			return fmt.Errorf("%s: %w", panel.Title, err)
		}
	}
	return board.Validate()
}
