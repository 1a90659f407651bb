package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
)

// A complete program: logs in, creates a sensor and an alarm, writes a reading, and acknowledges
// the alarm that the reading raises.
func Example() {
	ctx := context.Background()
	var token string
	api, err := client.NewClientWithResponses("http://localhost:8000",
		client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+token)
			return nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	login, err := api.LoginWithResponse(ctx, client.LoginRequest{Username: "admin", Password: "…"})
	if err != nil || login.JSON200 == nil {
		log.Fatal(err, login)
	}
	token = login.JSON200.AccessToken

	sensor, err := api.CreateSensorWithResponse(ctx, client.SensorCreate{
		Name:      "Bearing",
		Type:      "temperature",
		GatewayID: 1,
	})
	if err != nil || sensor.JSON201 == nil {
		log.Fatal(err, sensor)
	}
	created, err := api.CreateAlarmWithResponse(ctx, client.AlarmCreate{
		SensorID: sensor.JSON201.ID,
		Rule: client.AlarmRule{
			Name:     "Bearing hot",
			Kind:     client.AlarmKindThreshold,
			Severity: client.SeverityMajor,
			Limits:   &client.AlarmLimits{High: &client.AlarmLimit{Value: 80}},
		},
	})
	if err != nil || created.JSON201 == nil {
		log.Fatal(err, created)
	}
	_, err = api.WriteReadingsWithResponse(ctx, nil, client.ReadingsWriteRequest{
		Readings: []client.ReadingCreate{{
			SensorID:  sensor.JSON201.ID,
			Timestamp: new(time.Now()),
			Value:     nullable.NewNullableWithValue(85.0),
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	alarm, err := api.GetAlarmWithResponse(ctx, created.JSON201.ID)
	if err != nil || alarm.JSON200 == nil {
		log.Fatal(err, alarm)
	}
	_, err = api.AcknowledgeAlarmWithResponse(ctx, alarm.JSON200.ID, client.AlarmAcknowledgeRequest{
		Occurrence:   alarm.JSON200.Occurrence,
		StateVersion: alarm.JSON200.StateVersion,
	})
	fmt.Println(alarm.JSON200.State, err)
}
