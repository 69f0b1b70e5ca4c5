// Prometheus' own parser, engine and templates on series that are written down: promtool's `test rules` without the
// client libraries of every cloud that Prometheus can find targets in. Reads promtool's format, as far as it is used.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v2"
)

type tests struct {
	Files []string `yaml:"rule_files"`
	Tests []test   `yaml:"tests"`
}

type test struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts []struct {
		At   model.Duration `yaml:"eval_time"`
		Name string         `yaml:"alertname"`
		Want []struct {
			Labels map[string]string `yaml:"exp_labels"`
			Says   map[string]string `yaml:"exp_annotations"`
		} `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
}

var (
	language = parser.NewParser(parser.Options{})
	quiet    = slog.New(slog.DiscardHandler)
	start    = time.Unix(0, 0).UTC()
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run holds the rules of the first file to the tests of the second. Prints, for each, the alerts that fired in it.
func run(files []string) error {
	if len(files) != 2 {
		return fmt.Errorf("usage: rules ALERTS TESTS")
	}
	text, err := os.ReadFile(files[1])
	if err != nil {
		return err
	}
	var all tests
	if err := yaml.UnmarshalStrict(text, &all); err != nil {
		return fmt.Errorf("%s: %w", files[1], err)
	}
	var wrong []string
	for _, one := range all.Tests {
		alerting, err := load(files[0])
		if err != nil {
			return err
		}
		found, err := one.run(alerting)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
		wrong = append(wrong, found...)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("\n%s", strings.Join(wrong, "\n"))
	}
	fmt.Println(len(all.Tests), "tests")
	return nil
}

// alert is a rule, and since when its expression has held for which labels.
type alert struct {
	rulefmt.Rule
	since map[string]time.Time
}

// load reads the alerts of a file, as a Prometheus would that loads it.
func load(file string) ([]alert, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, language, quiet)
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s: %v", file, errs)
	}
	var found []alert
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			found = append(found, alert{rule, map[string]time.Time{}})
		}
	}
	return found, nil
}

// firing evaluates an alert at one moment, later than all before: the labels and the summary of each that fires.
func (a alert) firing(engine *promql.Engine, written memory, now time.Time) ([]string, error) {
	query := func(ctx context.Context, text string, at time.Time) (promql.Vector, error) {
		asked, err := engine.NewInstantQuery(ctx, written, nil, text, at)
		if err != nil {
			return nil, err
		}
		defer asked.Close()
		return asked.Exec(ctx).Vector()
	}
	result, err := query(context.Background(), a.Expr, now)
	if err != nil {
		return nil, err
	}
	found, holds := []string{}, map[string]bool{}
	for _, one := range result {
		key := one.Metric.String()
		holds[key] = true
		if _, known := a.since[key]; !known {
			a.since[key] = now
		}
		if now.Sub(a.since[key]) < time.Duration(a.For) {
			continue
		}
		all := labels.NewBuilder(one.Metric).Del(labels.MetricName).Set(labels.AlertName, a.Alert)
		for name, value := range a.Labels {
			all.Set(name, value)
		}
		text := "{{$labels := .Labels}}{{$value := .Value}}" + a.Annotations["summary"] + "\x00" + a.Annotations["description"]
		data := template.AlertTemplateData(one.Metric.Map(), nil, "", one)
		said, err := template.NewTemplateExpander(context.Background(), text, a.Alert, data,
			model.TimeFromUnixNano(now.UnixNano()), query, nil, []string{"missingkey=error"}).Expand()
		if err != nil {
			return nil, fmt.Errorf("what it says: %w", err)
		}
		summary, _, _ := strings.Cut(said, "\x00")
		found = append(found, all.Labels().String()+" "+summary)
	}
	for key := range a.since {
		if !holds[key] {
			delete(a.since, key)
		}
	}
	slices.Sort(found)
	return found, nil
}

// run evaluates every alert at every interval, and compares at the moments at which the test asks for it. An alert that
// fires and that the test does not ask for at any moment is wrong as well.
func (t test) run(alerts []alert) ([]string, error) {
	written, err := t.written()
	if err != nil {
		return nil, err
	}
	options := promql.EngineOpts{Logger: quiet, MaxSamples: 1_000_000, Timeout: time.Minute, Parser: language}
	engine := promql.NewEngine(options)
	asked, last := map[string]bool{}, time.Duration(0)
	for _, ask := range t.Alerts {
		if t.Interval <= 0 || ask.At%t.Interval != 0 {
			return nil, fmt.Errorf("eval_time %s of %s: must be a multiple of the interval, %s", ask.At, ask.Name, t.Interval)
		}
		asked[ask.Name] = true
		last = max(last, time.Duration(ask.At))
	}
	var wrong []string
	for at := time.Duration(0); at <= last; at += time.Duration(t.Interval) {
		firing := map[string][]string{}
		for _, alert := range alerts {
			found, err := alert.firing(engine, written, start.Add(at))
			if err != nil {
				return nil, fmt.Errorf("%s at %s: %w", alert.Alert, at, err)
			}
			firing[alert.Alert] = found
			if len(found) > 0 && !asked[alert.Alert] {
				wrong = append(wrong, fmt.Sprintf("%s, at %s: fires unasked: %q", t.Name, at, found))
				asked[alert.Alert] = true
			}
		}
		for _, ask := range t.Alerts {
			if time.Duration(ask.At) != at {
				continue
			}
			want := []string{}
			for _, one := range ask.Want {
				all := labels.NewBuilder(labels.FromMap(one.Labels)).Set(labels.AlertName, ask.Name).Labels()
				want = append(want, all.String()+" "+one.Says["summary"])
			}
			slices.Sort(want)
			if have, known := firing[ask.Name]; !known || !slices.Equal(want, have) {
				said := fmt.Sprintf("%s, at %s: %s:\n  wanted %q\n  fires  %q", t.Name, at, ask.Name, want, have)
				wrong = append(wrong, said)
			}
		}
	}
	return wrong, nil
}
