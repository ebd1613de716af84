//go:build deploy

package deploy

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const chart = "helm/parley"

// object is one of the objects that a chart makes.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		PodManagementPolicy string `yaml:"podManagementPolicy"`
		Template            struct {
			Spec struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []struct {
					Env []struct{ Name, Value string }
				}
				Volumes []struct {
					Secret struct {
						Items []struct{ Key, Path string }
					}
				}
			}
		}
	}
}

// render gives the objects of a release chat in the namespace talk.
func render(t *testing.T, values ...string) []object {
	t.Helper()
	args := []string{"template", "chat", chart, "--namespace", "talk"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	d := yaml.NewDecoder(strings.NewReader(run(t, nil, "helm", args...)))
	var all []object
	for {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
}

func find(t *testing.T, all []object, kind string) object {
	t.Helper()
	i := slices.IndexFunc(all, func(o object) bool { return o.Kind == kind })
	if i < 0 {
		t.Fatalf("no %s", kind)
	}
	return all[i]
}

func TestChartIsWellFormed(t *testing.T) {
	run(t, nil, "helm", "lint", "--strict", chart)
	want := []string{"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "StatefulSet"}
	var kinds []string
	for _, o := range render(t) {
		kinds = append(kinds, o.Kind)
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, want) {
		t.Errorf("the chart makes %v, want %v", kinds, want)
	}
	render(t, "podMonitor=true", "networkPolicy=false", "antiAffinity.mode=soft", "credentials.secret=c", "storage.className=fast",
		"storage.keep=false", "image.digest=sha256:"+strings.Repeat("a", 64), "image.pullSecrets[0].name=p", "nodeSelector.disk=fast",
		"tolerations[0].key=k", "priorityClassName=high", "podAnnotations.a=b", "service.type=LoadBalancer", "service.annotations.a=b")
}

// TestChartRefusesWhatCannotWork: the schema names the value.
func TestChartRefusesWhatCannotWork(t *testing.T) {
	for value, told := range map[string]string{
		"replicas=0": "replicas", "image.digest=latest": "digest", "settings.join=x": "propertyName 'join'", "storage.size=big": "size",
		"shutdownDelay=16": "half of shutdownGrace", "antiAffinity.mode=none": "mode", "replicaCount=3": "replicaCount",
	} {
		if out, err := command(nil, "helm", "template", chart, "--set", value); err == nil || !strings.Contains(out, told) {
			t.Errorf("%s: %v\n%s", value, err, out)
		}
	}
}

// TestPodsGetSettingsThatTheBinaryTakes checks every pod's file and variables as the pod would have them.
func TestPodsGetSettingsThatTheBinaryTakes(t *testing.T) {
	for _, values := range [][]string{{}, {"bootstrap=true"}, {"replicas=1"}, {"replicas=5", "settings.log-level=debug", "settings.webhook-allow[0]=10.0.0.0/8"}} {
		all := render(t, values...)
		pod := find(t, all, "StatefulSet").Spec.Template.Spec
		for file, text := range find(t, all, "ConfigMap").Data {
			name := strings.TrimSuffix(file, ".yaml")
			environ := []string{"PARLEY_NODE_NAME=" + name, "PARLEY_ADVERTISE_HOST=10.1.2.3", "PARLEY_CONFIG=" + write(t, file, text)}
			for _, e := range pod.Containers[0].Env {
				if e.Name == "PARLEY_CERTS_DIR" {
					environ = append(environ, e.Name+"="+strings.ReplaceAll(e.Value, "$(PARLEY_NODE_NAME)", name))
				}
			}
			known(t, run(t, environ, binary, "config", "check"), name)
		}
	}
}

// TestOnlyTheBootstrapMakesACluster: a pod without --join and without data makes a new cluster, so that must
// be the first one alone, and only when it is asked for.
func TestOnlyTheBootstrapMakesACluster(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		for _, bootstrap := range []bool{false, true} {
			all := render(t, fmt.Sprintf("replicas=%d", replicas), fmt.Sprintf("bootstrap=%t", bootstrap))
			files := find(t, all, "ConfigMap").Data
			if len(files) != replicas {
				t.Errorf("%d files for %d replicas", len(files), replicas)
			}
			for file, text := range files {
				var settings struct{ Join []string }
				if err := yaml.Unmarshal([]byte(text), &settings); err != nil {
					t.Fatal(err)
				}
				name := strings.TrimSuffix(file, ".yaml")
				if makes := len(settings.Join) == 0; makes != (bootstrap && name == "chat-0") {
					t.Errorf("%d replicas, bootstrap %t: %s joins %q", replicas, bootstrap, name, settings.Join)
				}
				if slices.ContainsFunc(settings.Join, func(s string) bool { return strings.HasPrefix(s, name+".") }) {
					t.Errorf("%s joins itself", name)
				}
			}
		}
	}
}

func TestPodsHaveTimeAndTheirOwnFiles(t *testing.T) {
	set := find(t, render(t, "shutdownGrace=120", "replicas=12"), "StatefulSet").Spec
	if set.PodManagementPolicy != "Parallel" {
		t.Error("pods start one after the other: a cluster that was down altogether never would")
	}
	if got := set.Template.Spec.TerminationGracePeriodSeconds; got <= 120 {
		t.Errorf("pods are killed after %d s, the node takes 120 s", got)
	}
	var paths []string
	for _, v := range set.Template.Spec.Volumes {
		for _, i := range v.Secret.Items {
			paths = append(paths, i.Path)
		}
	}
	for _, want := range []string{"chat-11/ca.crt", "chat-11/gossip.key", "chat-11/node.crt", "chat-11/node.key"} {
		if !slices.Contains(paths, want) {
			t.Errorf("the last pod has no %s", want)
		}
	}
}
