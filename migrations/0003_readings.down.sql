DROP TABLE purges, rejections, latest, sensor_data;
