package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
)

func TestRejections_AreAnsweredRecordedAndCounted(t *testing.T) {
	t.Parallel()
	const few = "OEI_INGEST_MAX_REJECTIONS_PER_GATEWAY=2"
	t.Run("through the embedded broker", func(t *testing.T) {
		p := serve(t, dataDir(t), few)
		followRejections(t, p, p.mqtt, true)
	})
	t.Run("through mosquitto", func(t *testing.T) {
		m := mosquitto.Start(t)
		host, port, err := net.SplitHostPort(m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		followRejections(t, serve(t, dataDir(t), few, "MQTT_HOST="+host, "MQTT_PORT="+port),
			m.Addr(),
			false)
	})
}

// followRejections publishes samples that are rejected to the broker, embedded or external, and
// looks for their records.
func followRejections(t *testing.T, p *process, broker string, embedded bool) {
	api := p.login()
	d := p.register(api, "press-1")
	gateway, err := d.connect(t.Context(), broker, func() {})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		payload := fmt.Sprintf(`{"Value": %d}`, i)
		res, err := gateway.Publish(t.Context(),
			&paho.Publish{Topic: d.topic(), QoS: 1, Payload: []byte(payload)})
		if embedded &&
			(res == nil || res.ReasonCode != 0x99 ||
				!strings.HasPrefix(res.Properties.ReasonString, "malformed: ")) {
			t.Errorf("PUBACK of %s: got %+v, %v; want 0x99", payload, res, err)
		}
	}
	var kept []client.Rejection
	p.eventually(10*time.Second, "the newest two are kept", func() bool {
		list, err := api.ListRejectionsWithResponse(t.Context(),
			&client.ListRejectionsParams{GatewayID: &d.gatewayID})
		if err != nil || list.JSON200 == nil {
			t.Fatalf("rejections: %v %s", err, list.Body)
		}
		kept = *list.JSON200
		return len(kept) == 2 && kept[0].Payload == `{"Value": 2}` &&
			kept[1].Payload == `{"Value": 1}`
	})
	for _, r := range kept {
		if r.Gateway != d.key || r.Topic != d.topic() ||
			r.Reason != client.RejectionReasonMalformed || !strings.Contains(r.Detail, `"value"`) {
			t.Errorf("rejections: got %+v", r)
		}
	}
	var metrics string
	p.eventually(10*time.Second, "they are counted", func() bool {
		res, err := http.Get("http://" + p.api + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		metrics = string(text)
		return err == nil &&
			strings.Contains(metrics,
				fmt.Sprintf(`oei_ingest_rejected_total{gateway="%d",reason="malformed"} 3`,
					d.gatewayID))
	})
	http.DefaultClient.CloseIdleConnections()
	if strings.Contains(metrics, d.key) {
		t.Error("/metrics, which anybody may read, names the gateway")
	}
	if err := gateway.Disconnect(&paho.Disconnect{}); err != nil {
		t.Error(err)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("SIGTERM: got exit code %d, want 0", code)
	}
}
