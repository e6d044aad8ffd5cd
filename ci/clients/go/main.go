// An operator written in Go, with client-go, pointed at an API server that is not Kubernetes.
//
// It does what such programs do: typed clients that speak protobuf, shared informers (streaming lists), a work queue,
// leader election by Lease, recorded Events, server-side apply, a dynamic client for a custom resource, subresources.
// Every step is a line `ok …` or `FAILED …`; the exit code says whether all held.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"
	"k8s.io/client-go/util/workqueue"
)

const (
	namespace = "go-operator"
	patience  = 30 * time.Second
)

var (
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	sites       = schema.GroupVersionResource{Group: "example.org", Version: "v1", Resource: "sites"}
)

func pointer[T any](value T) *T { return &value }

type program struct {
	ctx     context.Context
	typed   *kubernetes.Clientset // protobuf both ways where the server can
	dynamic dynamic.Interface
	config  *rest.Config
	failed  int
}

func (p *program) step(name string, do func() error) {
	if err := do(); err != nil {
		p.failed++
		fmt.Printf("FAILED %s: %v\n", name, err)
		return
	}
	fmt.Printf("ok %s\n", name)
}

func (p *program) until(what string, holds func() (bool, error)) error {
	last := errors.New("it never held")
	err := wait.PollUntilContextTimeout(p.ctx, 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		done, err := holds()
		if err != nil {
			last = err
		}
		return done, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w (%w)", what, err, last)
	}
	return nil
}

func expect(condition bool, format string, arguments ...any) error {
	if condition {
		return nil
	}
	return fmt.Errorf(format, arguments...)
}

func main() {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "how to reach the API server")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	config.QPS, config.Burst = 1000, 1000
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = "application/vnd.kubernetes.protobuf"
	protobuf.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	p := &program{ctx: ctx, typed: kubernetes.NewForConfigOrDie(protobuf), dynamic: dynamic.NewForConfigOrDie(config), config: config}
	p.discover()
	p.builtIns()
	p.subresources()
	p.applies()
	p.operator()
	p.cleanUp()
	if p.failed > 0 {
		fmt.Printf("%d steps failed\n", p.failed)
		os.Exit(1)
	}
	fmt.Println("all steps held")
}

func (p *program) discover() {
	client := discovery.NewDiscoveryClientForConfigOrDie(p.config)
	p.step("version", func() error {
		version, err := client.ServerVersion()
		if err != nil {
			return err
		}
		return expect(strings.HasPrefix(version.GitVersion, "v1."), "version %s", version.GitVersion)
	})
	p.step("aggregated discovery finds deployments with scale and status", func() error {
		_, lists, err := client.ServerGroupsAndResources()
		if err != nil {
			return err
		}
		found := map[string]bool{}
		for _, list := range lists {
			for _, r := range list.APIResources {
				found[list.GroupVersion+"/"+r.Name] = true
			}
		}
		for _, want := range []string{"v1/pods", "v1/pods/log", "apps/v1/deployments", "apps/v1/deployments/scale", "apps/v1/deployments/status", "coordination.k8s.io/v1/leases"} {
			if !found[want] {
				return fmt.Errorf("%s is not among %d resources", want, len(found))
			}
		}
		return nil
	})
	p.step("openapi v3 lists its paths", func() error {
		paths, err := client.OpenAPIV3().Paths()
		if err != nil {
			return err
		}
		return expect(paths["apis/apps/v1"] != nil, "no apis/apps/v1 among %d", len(paths))
	})
}

func template(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "example.org/web:1",
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env:   []corev1.EnvVar{{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}},
		}}},
	}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: template(name),
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: pointer(intstr.FromString("50%")), MaxUnavailable: pointer(intstr.FromInt32(0))}}},
	}
}

func (p *program) builtIns() {
	core, apps := p.typed.CoreV1(), p.typed.AppsV1()
	p.step("create a namespace", func() error {
		made, err := core.Namespaces().Create(p.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		return expect(made.UID != "" && made.Status.Phase == corev1.NamespaceActive, "%+v", made)
	})
	p.step("create the same again is AlreadyExists", func() error {
		_, err := core.Namespaces().Create(p.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		return expect(apierrors.IsAlreadyExists(err), "%v", err)
	})
	p.step("config maps and secrets keep binary data", func() error {
		binary := []byte{0, 1, 2, 255}
		if _, err := core.ConfigMaps(namespace).Create(p.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"a": "é\n"}, BinaryData: map[string][]byte{"b": binary}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		if _, err := core.Secrets(namespace).Create(p.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"x": "y"}, Data: map[string][]byte{"b": binary}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		c, err := core.ConfigMaps(namespace).Get(p.ctx, "c", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s, err := core.Secrets(namespace).Get(p.ctx, "s", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return expect(c.Data["a"] == "é\n" && string(c.BinaryData["b"]) == string(binary) && string(s.Data["x"]) == "y" && string(s.Data["b"]) == string(binary), "%+v %+v", c, s)
	})
	p.step("a deployment is defaulted and becomes available", func() error {
		made, err := apps.Deployments(namespace).Create(p.ctx, deployment("web", 2), metav1.CreateOptions{FieldManager: "go", FieldValidation: "Strict"})
		if err != nil {
			return err
		}
		if made.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways || made.Spec.Strategy.RollingUpdate.MaxSurge.String() != "50%" || made.Spec.Template.Spec.Containers[0].Resources.Requests.Memory().Value() != 16<<20 {
			return fmt.Errorf("%+v", made.Spec)
		}
		return p.until("available", func() (bool, error) {
			now, err := apps.Deployments(namespace).Get(p.ctx, "web", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			return now.Status.AvailableReplicas == 2 && now.Status.ObservedGeneration == now.Generation, fmt.Errorf("%+v", now.Status)
		})
	})
	p.step("a service gets endpoint slices", func() error {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}}}
		if _, err := core.Services(namespace).Create(p.ctx, service, metav1.CreateOptions{}); err != nil {
			return err
		}
		return p.until("two endpoints", func() (bool, error) {
			slices, err := p.typed.DiscoveryV1().EndpointSlices(namespace).List(p.ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
			if err != nil {
				return false, err
			}
			count := 0
			for _, slice := range slices.Items {
				count += len(slice.Endpoints)
			}
			return count == 2, fmt.Errorf("%d endpoints", count)
		})
	})
	p.step("a stateful set with claims, a daemon set and a job", func() error {
		set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{Replicas: pointer(int32(2)), ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Template: template("db"),
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}}}}
		if _, err := apps.StatefulSets(namespace).Create(p.ctx, set, metav1.CreateOptions{}); err != nil {
			return err
		}
		daemons := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, Template: template("agent")}}
		if _, err := apps.DaemonSets(namespace).Create(p.ctx, daemons, metav1.CreateOptions{}); err != nil {
			return err
		}
		work := template("work")
		work.Spec.RestartPolicy = corev1.RestartPolicyNever
		if _, err := p.typed.BatchV1().Jobs(namespace).Create(p.ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "work"}, Spec: batchv1.JobSpec{Template: work}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		return p.until("ready", func() (bool, error) {
			a, err := apps.StatefulSets(namespace).Get(p.ctx, "db", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			b, err := apps.DaemonSets(namespace).Get(p.ctx, "agent", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			return a.Status.ReadyReplicas == 2 && b.Status.NumberReady > 0 && b.Status.NumberReady == b.Status.DesiredNumberScheduled, fmt.Errorf("%+v %+v", a.Status, b.Status)
		})
	})
	p.step("an invalid deployment is refused with its causes", func() error {
		bad := deployment("bad", 1)
		bad.Spec.Template.Labels = map[string]string{"app": "other"}
		_, err := apps.Deployments(namespace).Create(p.ctx, bad, metav1.CreateOptions{})
		var status apierrors.APIStatus
		if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
			return fmt.Errorf("%v", err)
		}
		causes := status.Status().Details.Causes
		return expect(len(causes) == 1 && causes[0].Field == "spec.template.metadata.labels", "%+v", causes)
	})
	p.step("optimistic concurrency: a stale update is a conflict, a retry wins", func() error {
		first, err := core.ConfigMaps(namespace).Get(p.ctx, "c", metav1.GetOptions{})
		if err != nil {
			return err
		}
		second := first.DeepCopy()
		first.Data["a"] = "1"
		if _, err := core.ConfigMaps(namespace).Update(p.ctx, first, metav1.UpdateOptions{}); err != nil {
			return err
		}
		second.Data["a"] = "2"
		if _, err := core.ConfigMaps(namespace).Update(p.ctx, second, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			return fmt.Errorf("%v", err)
		}
		return retry.RetryOnConflict(retry.DefaultRetry, func() error {
			now, err := core.ConfigMaps(namespace).Get(p.ctx, "c", metav1.GetOptions{})
			if err != nil {
				return err
			}
			now.Data["a"] = "3"
			_, err = core.ConfigMaps(namespace).Update(p.ctx, now, metav1.UpdateOptions{})
			return err
		})
	})
	p.step("lists are paged consistently", func() error {
		for i := range 7 {
			if _, err := core.ConfigMaps(namespace).Create(p.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "page-", Labels: map[string]string{"page": "yes"}, Annotations: map[string]string{"i": fmt.Sprint(i)}}}, metav1.CreateOptions{}); err != nil {
				return err
			}
		}
		names, options := map[string]bool{}, metav1.ListOptions{LabelSelector: "page in (yes)", Limit: 3}
		for pages := 1; ; pages++ {
			page, err := core.ConfigMaps(namespace).List(p.ctx, options)
			if err != nil {
				return err
			}
			for _, item := range page.Items {
				names[item.Name] = true
			}
			if page.Continue == "" {
				return expect(pages == 3 && len(names) == 7, "%d pages, %d names", pages, len(names))
			}
			options.Continue = page.Continue
		}
	})
	p.step("metadata alone", func() error {
		list, err := metadata.NewForConfigOrDie(p.config).Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace(namespace).List(p.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		// This client asks for protobuf, in which the items of a list do not say of what kind they are.
		return expect(len(list.Items) == 1 && list.Items[0].Name == "web" && list.Items[0].Annotations["deployment.kubernetes.io/revision"] == "1", "%+v", list.Items)
	})
}

func (p *program) subresources() {
	core, apps := p.typed.CoreV1(), p.typed.AppsV1()
	p.step("scale by the subresource", func() error {
		scale, err := apps.Deployments(namespace).GetScale(p.ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = 3
		if _, err := apps.Deployments(namespace).UpdateScale(p.ctx, "web", &autoscalingv1.Scale{ObjectMeta: scale.ObjectMeta, Spec: scale.Spec}, metav1.UpdateOptions{}); err != nil {
			return err
		}
		return p.until("three", func() (bool, error) {
			now, err := apps.Deployments(namespace).Get(p.ctx, "web", metav1.GetOptions{})
			return err == nil && now.Status.ReadyReplicas == 3, err
		})
	})
	p.step("patches of three types", func() error {
		client := apps.Deployments(namespace)
		if _, err := client.Patch(p.ctx, "web", types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"1"}]}]}}}}`), metav1.PatchOptions{}); err != nil {
			return err
		}
		if _, err := client.Patch(p.ctx, "web", types.MergePatchType, []byte(`{"metadata":{"annotations":{"merge":"yes"}}}`), metav1.PatchOptions{}); err != nil {
			return err
		}
		now, err := client.Patch(p.ctx, "web", types.JSONPatchType, []byte(`[{"op":"test","path":"/metadata/annotations/merge","value":"yes"},{"op":"add","path":"/metadata/labels/json","value":"yes"}]`), metav1.PatchOptions{})
		if err != nil {
			return err
		}
		env := now.Spec.Template.Spec.Containers[0].Env
		return expect(len(env) == 2 && now.Labels["json"] == "yes", "%+v %+v", env, now.Labels)
	})
	p.step("logs of a pod", func() error {
		pods, err := core.Pods(namespace).List(p.ctx, metav1.ListOptions{LabelSelector: "app=db"})
		if err != nil {
			return err
		}
		stream, err := core.Pods(namespace).GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{TailLines: pointer(int64(5))}).Stream(p.ctx)
		if err != nil {
			return err
		}
		defer stream.Close()
		_, err = io.ReadAll(stream)
		return err
	})
	p.step("an eviction respects the disruption budget", func() error {
		one := intstr.FromInt32(2)
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}
		if _, err := p.typed.PolicyV1().PodDisruptionBudgets(namespace).Create(p.ctx, budget, metav1.CreateOptions{}); err != nil {
			return err
		}
		if err := p.until("budget observed", func() (bool, error) {
			now, err := p.typed.PolicyV1().PodDisruptionBudgets(namespace).Get(p.ctx, "db", metav1.GetOptions{})
			return err == nil && now.Status.CurrentHealthy == 2, err
		}); err != nil {
			return err
		}
		err := core.Pods(namespace).EvictV1(p.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "db-0"}})
		return expect(apierrors.IsTooManyRequests(err), "%v", err)
	})
	p.step("who may", func() error {
		review, err := p.typed.AuthorizationV1().SelfSubjectAccessReviews().Create(p.ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Group: "apps", Resource: "deployments", Namespace: namespace}}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		return expect(review.Status.Allowed, "%+v", review.Status)
	})
	p.step("a role and its binding", func() error {
		if _, err := p.typed.RbacV1().Roles(namespace).Create(p.ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: namespace}}}
		_, err := p.typed.RbacV1().RoleBindings(namespace).Create(p.ctx, binding, metav1.CreateOptions{})
		return err
	})
	p.step("a service account's token", func() error {
		if err := p.until("the default account", func() (bool, error) {
			_, err := core.ServiceAccounts(namespace).Get(p.ctx, "default", metav1.GetOptions{})
			return err == nil, err
		}); err != nil {
			return err
		}
		answer, err := core.ServiceAccounts(namespace).CreateToken(p.ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: pointer(int64(600))}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		review, err := p.typed.AuthenticationV1().TokenReviews().Create(p.ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: answer.Status.Token}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		return expect(review.Status.Authenticated && review.Status.User.Username == "system:serviceaccount:"+namespace+":default", "%+v", review.Status)
	})
}

func (p *program) applies() {
	apps := p.typed.AppsV1().Deployments(namespace)
	config := func(replicas int32) *appsapply.DeploymentApplyConfiguration {
		return appsapply.Deployment("applied", namespace).WithSpec(appsapply.DeploymentSpec().WithReplicas(replicas).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(map[string]string{"app": "applied"})).
			WithTemplate(coreapply.PodTemplateSpec().WithLabels(map[string]string{"app": "applied"}).
				WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("main").WithImage("example.org/web:1")))))
	}
	p.step("server-side apply creates, is idempotent, and conflicts", func() error {
		first, err := apps.Apply(p.ctx, config(1), metav1.ApplyOptions{FieldManager: "a"})
		if err != nil {
			return err
		}
		if err := p.until("settled", func() (bool, error) {
			now, err := apps.Get(p.ctx, "applied", metav1.GetOptions{})
			return err == nil && now.Status.ReadyReplicas == 1, err
		}); err != nil {
			return err
		}
		before, err := apps.Get(p.ctx, "applied", metav1.GetOptions{})
		if err != nil {
			return err
		}
		second, err := apps.Apply(p.ctx, config(1), metav1.ApplyOptions{FieldManager: "a"})
		if err != nil {
			return err
		}
		if second.ResourceVersion != before.ResourceVersion || first.Generation != second.Generation {
			return fmt.Errorf("an apply that changes nothing made %s of %s", second.ResourceVersion, before.ResourceVersion)
		}
		if _, err := apps.Apply(p.ctx, config(2), metav1.ApplyOptions{FieldManager: "b"}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.replicas") {
			return fmt.Errorf("%v", err)
		}
		_, err = apps.Apply(p.ctx, config(2), metav1.ApplyOptions{FieldManager: "b", Force: true})
		return err
	})
}

func (p *program) operator() {
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "sites.example.org"},
		"spec": map[string]any{"group": "example.org", "scope": "Namespaced",
			"names": map[string]any{"plural": "sites", "kind": "Site"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}, "scale": map[string]any{"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.ready"}},
				"selectableFields": []any{map[string]any{"jsonPath": ".spec.image"}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"spec": map[string]any{"type": "object", "required": []any{"replicas"}, "properties": map[string]any{
						"replicas": map[string]any{"type": "integer", "minimum": int64(0)}, "image": map[string]any{"type": "string", "default": "example.org/web:1"}},
						"x-kubernetes-validations": []any{map[string]any{"rule": "self.replicas <= 5", "message": "at most five"}}},
					"status": map[string]any{"type": "object", "properties": map[string]any{"ready": map[string]any{"type": "integer"}}}}}}}}}}}
	p.step("a custom resource definition is established", func() error {
		if _, err := p.dynamic.Resource(definitions).Create(p.ctx, definition, metav1.CreateOptions{}); err != nil {
			return err
		}
		return p.until("established", func() (bool, error) {
			now, err := p.dynamic.Resource(definitions).Get(p.ctx, "sites.example.org", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			conditions, _, err := unstructured.NestedSlice(now.Object, "status", "conditions")
			for _, c := range conditions {
				if c.(map[string]any)["type"] == "Established" && c.(map[string]any)["status"] == "True" {
					return true, nil
				}
			}
			return false, err
		})
	})
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	recorder := p.recorder()
	leading, stopped := make(chan struct{}), make(chan struct{})
	lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: "site-operator", Namespace: namespace}, Client: p.typed.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: "one", EventRecorder: recorder}}
	go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{Lock: lock, ReleaseOnCancel: true, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { close(leading) }, OnStoppedLeading: func() { close(stopped) }}})
	p.step("the lease is won", func() error {
		select {
		case <-leading:
			return nil
		case <-time.After(patience):
			return errors.New("not within the patience")
		}
	})
	dynamicFactory := dynamicinformer.NewDynamicSharedInformerFactory(p.dynamic, 0)
	factory := informers.NewSharedInformerFactoryWithOptions(p.typed, 0, informers.WithNamespace(namespace))
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	enqueue := func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			queue.Add(key)
		}
	}
	handlers := cache.ResourceEventHandlerFuncs{AddFunc: enqueue, UpdateFunc: func(_, now any) { enqueue(now) }, DeleteFunc: enqueue}
	siteInformer := dynamicFactory.ForResource(sites)
	siteInformer.Informer().AddEventHandler(handlers)
	deployments := factory.Apps().V1().Deployments()
	deployments.Informer().AddEventHandler(handlers)
	dynamicFactory.Start(ctx.Done())
	factory.Start(ctx.Done())
	p.step("caches sync", func() error {
		within, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return expect(cache.WaitForCacheSync(within.Done(), siteInformer.Informer().HasSynced, deployments.Informer().HasSynced), "not within the patience")
	})
	go func() {
		for {
			key, shutdown := queue.Get()
			if shutdown {
				return
			}
			if err := p.reconcile(ctx, key, siteInformer.Lister(), recorder); err != nil {
				queue.AddRateLimited(key)
			} else {
				queue.Forget(key)
			}
			queue.Done(key)
		}
	}()
	defer queue.ShutDown()
	site := func(replicas int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.org/v1", "kind": "Site", "metadata": map[string]any{"name": "shop", "namespace": namespace}, "spec": map[string]any{"replicas": replicas}}}
	}
	p.step("a rule of the definition refuses", func() error {
		_, err := p.dynamic.Resource(sites).Namespace(namespace).Create(p.ctx, site(9), metav1.CreateOptions{})
		return expect(apierrors.IsInvalid(err) && strings.Contains(err.Error(), "at most five"), "%v", err)
	})
	p.step("the operator makes a site ready", func() error {
		if _, err := p.dynamic.Resource(sites).Namespace(namespace).Create(p.ctx, site(2), metav1.CreateOptions{}); err != nil {
			return err
		}
		return p.until("status.ready = 2", func() (bool, error) {
			now, err := p.dynamic.Resource(sites).Namespace(namespace).Get(p.ctx, "shop", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			ready, _, err := unstructured.NestedInt64(now.Object, "status", "ready")
			return ready == 2, err
		})
	})
	p.step("its event is there, in both groups", func() error {
		return p.until("event", func() (bool, error) {
			one, err := p.typed.CoreV1().Events(namespace).List(p.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=shop,reason=Applied"})
			if err != nil {
				return false, err
			}
			other, err := p.typed.EventsV1().Events(namespace).List(p.ctx, metav1.ListOptions{})
			if err != nil {
				return false, err
			}
			count := 0
			for _, event := range other.Items {
				if event.Regarding.Name == "shop" && event.Reason == "Applied" {
					count++
				}
			}
			return len(one.Items) > 0 && count == len(one.Items), fmt.Errorf("%d and %d events", len(one.Items), count)
		})
	})
	p.step("the site is scaled by its subresource, and selected by a field", func() error {
		client := p.dynamic.Resource(sites).Namespace(namespace)
		scale, err := client.Get(p.ctx, "shop", metav1.GetOptions{}, "scale")
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(scale.Object, int64(3), "spec", "replicas"); err != nil {
			return err
		}
		if _, err := client.Update(p.ctx, scale, metav1.UpdateOptions{}, "scale"); err != nil {
			return err
		}
		chosen, err := client.List(p.ctx, metav1.ListOptions{FieldSelector: "spec.image=example.org/web:1"})
		if err != nil {
			return err
		}
		other, err := client.List(p.ctx, metav1.ListOptions{FieldSelector: "spec.image=none"})
		if err != nil {
			return err
		}
		if len(chosen.Items) != 1 || len(other.Items) != 0 {
			return fmt.Errorf("%d and %d sites", len(chosen.Items), len(other.Items))
		}
		return p.until("status.ready = 3", func() (bool, error) {
			now, err := client.Get(p.ctx, "shop", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			ready, _, err := unstructured.NestedInt64(now.Object, "status", "ready")
			return ready == 3, err
		})
	})
	p.step("deleting the site takes its deployment along", func() error {
		if err := p.dynamic.Resource(sites).Namespace(namespace).Delete(p.ctx, "shop", metav1.DeleteOptions{PropagationPolicy: pointer(metav1.DeletePropagationForeground)}); err != nil {
			return err
		}
		return p.until("gone", func() (bool, error) {
			_, err := deployments.Lister().Deployments(namespace).Get("shop")
			_, other := p.dynamic.Resource(sites).Namespace(namespace).Get(p.ctx, "shop", metav1.GetOptions{})
			return apierrors.IsNotFound(err) && apierrors.IsNotFound(other), fmt.Errorf("%v, %v", err, other)
		})
	})
	p.step("the lease is given up", func() error {
		stop()
		select {
		case <-stopped:
		case <-time.After(patience):
			return errors.New("not within the patience")
		}
		lease, err := p.typed.CoordinationV1().Leases(namespace).Get(p.ctx, "site-operator", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return expect(*lease.Spec.HolderIdentity == "", "held by %s", *lease.Spec.HolderIdentity)
	})
}

func (p *program) recorder() record.EventRecorder {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: p.typed.CoreV1().Events("")})
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "site-operator"})
}

func (p *program) reconcile(ctx context.Context, key string, lister cache.GenericLister, recorder record.EventRecorder) error {
	_, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	found, err := lister.ByNamespace(namespace).Get(name)
	if err != nil {
		return nil // not a site, or gone: its dependents go with it
	}
	site := found.(*unstructured.Unstructured)
	if site.GetDeletionTimestamp() != nil {
		return nil
	}
	replicas, _, _ := unstructured.NestedInt64(site.Object, "spec", "replicas")
	image, _, _ := unstructured.NestedString(site.Object, "spec", "image")
	owner := metaapply.OwnerReference().WithAPIVersion("example.org/v1").WithKind("Site").WithName(name).WithUID(site.GetUID()).WithController(true).WithBlockOwnerDeletion(true)
	config := appsapply.Deployment(name, namespace).WithOwnerReferences(owner).WithSpec(appsapply.DeploymentSpec().WithReplicas(int32(replicas)).
		WithSelector(metaapply.LabelSelector().WithMatchLabels(map[string]string{"site": name})).
		WithTemplate(coreapply.PodTemplateSpec().WithLabels(map[string]string{"site": name}).
			WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("main").WithImage(image)))))
	applied, err := p.typed.AppsV1().Deployments(namespace).Apply(ctx, config, metav1.ApplyOptions{FieldManager: "site-operator", Force: true})
	if err != nil {
		return err
	}
	ready := int64(applied.Status.ReadyReplicas)
	if before, set, _ := unstructured.NestedInt64(site.Object, "status", "ready"); set && before == ready {
		return nil
	}
	recorder.Eventf(site, corev1.EventTypeNormal, "Applied", "%d of %d replicas are ready", ready, replicas)
	next := site.DeepCopy()
	if err := unstructured.SetNestedField(next.Object, ready, "status", "ready"); err != nil {
		return err
	}
	_, err = p.dynamic.Resource(sites).Namespace(namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
	return err
}

func (p *program) cleanUp() {
	p.step("deleting the namespace takes everything along", func() error {
		if err := p.typed.CoreV1().Namespaces().Delete(p.ctx, namespace, metav1.DeleteOptions{}); err != nil {
			return err
		}
		return p.until("gone", func() (bool, error) {
			_, err := p.typed.CoreV1().Namespaces().Get(p.ctx, namespace, metav1.GetOptions{})
			return apierrors.IsNotFound(err), err
		})
	})
}
