-- Format 1 as its last version wrote it: the index of topics is written behind the updates.
PRAGMA application_id = 1415866227;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE classes (
        class INTEGER PRIMARY KEY,
        rule TEXT NOT NULL,
        count INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        oldest INTEGER NOT NULL,
        replaced INTEGER NOT NULL
    ) STRICT;
INSERT INTO "classes" VALUES(0,'All Selectors([Exact("few")])',2,632,12,0);
INSERT INTO "classes" VALUES(1,'Last Selectors([Exact("state")])',1,318,7,7);
INSERT INTO "classes" VALUES(2,'All Selectors([All])',4,1308,8,0);
INSERT INTO "classes" VALUES(3,'All Selectors([All])',0,0,0,0);
CREATE TABLE dropped (topic INTEGER PRIMARY KEY, position INTEGER NOT NULL) STRICT;
INSERT INTO "dropped" VALUES(5690971752882705843,5);
CREATE TABLE dropped_private (topics TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
INSERT INTO "dropped_private" VALUES('few
b',11);
CREATE TABLE ids (
        id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (id, position)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "ids" VALUES(-7969492272469031243,9);
CREATE TABLE keys (
        key TEXT PRIMARY KEY,
        fingerprint INTEGER NOT NULL,
        age INTEGER NOT NULL,
        ids TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "keys" VALUES('k1',2604314893121045332,1706,'urn:7');
INSERT INTO "keys" VALUES('k2',-6633563078925523218,1738,'tidings:4ggaer.10.bbaj');
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('classes_through',14);
INSERT INTO "meta" VALUES('dropped_forgotten',0);
INSERT INTO "meta" VALUES('dropped_presence',0);
INSERT INTO "meta" VALUES('dropped_private',11);
INSERT INTO "meta" VALUES('dropped_private_forgotten',0);
INSERT INTO "meta" VALUES('dropped_public',5);
INSERT INTO "meta" VALUES('dropped_time',1795927881468358949);
INSERT INTO "meta" VALUES('epoch',946012305);
INSERT INTO "meta" VALUES('indexed',14);
INSERT INTO "meta" VALUES('last','tidings:4ggaer.14.g4p3');
INSERT INTO "meta" VALUES('secret_1',-8104655472174371282);
INSERT INTO "meta" VALUES('secret_2',305378266472423684);
INSERT INTO "meta" VALUES('trimmed_age',2810);
INSERT INTO "meta" VALUES('trimmed_time',1795927882516374095);
CREATE TABLE revoked (token TEXT NOT NULL UNIQUE, until INTEGER) STRICT;
INSERT INTO "revoked" VALUES('jti:gone',NULL);
CREATE TABLE topics (
        topic INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (topic, position)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "topics" VALUES(-8924651931205033490,8);
INSERT INTO "topics" VALUES(-904826966963430989,12);
INSERT INTO "topics" VALUES(-904826966963430989,13);
INSERT INTO "topics" VALUES(4447961316146169799,7);
INSERT INTO "topics" VALUES(4951834732285095620,8);
INSERT INTO "topics" VALUES(4951834732285095620,9);
INSERT INTO "topics" VALUES(4951834732285095620,10);
INSERT INTO "topics" VALUES(4951834732285095620,14);
CREATE TABLE updates (
        position INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        age INTEGER NOT NULL,
        class INTEGER NOT NULL,
        private INTEGER NOT NULL,
        topics TEXT NOT NULL,
        type TEXT,
        id TEXT,
        retry INTEGER,
        data TEXT NOT NULL
    ) STRICT;
INSERT INTO "updates" VALUES(7,1795927881358838457,1653,1,0,'state',NULL,NULL,NULL,'s2');
INSERT INTO "updates" VALUES(8,1795927881382195980,1676,2,0,'a
b','price',NULL,1500,'two topics');
INSERT INTO "updates" VALUES(9,1795927881412698626,1706,2,0,'a',NULL,'urn:7',NULL,'own id');
INSERT INTO "updates" VALUES(10,1795927881443928853,1738,2,0,'a',NULL,NULL,NULL,'grüße
zweite Zeile');
INSERT INTO "updates" VALUES(12,1795927881524975993,1819,0,1,'few',NULL,NULL,NULL,'p2');
INSERT INTO "updates" VALUES(13,1795927881547109878,1841,0,1,'few',NULL,NULL,NULL,'p3');
INSERT INTO "updates" VALUES(14,1795927881560425787,1854,2,0,'a',NULL,NULL,NULL,'last');
INSERT INTO "updates" VALUES(15,1795927881560425790,1855,3,2,'/.well-known/mercure/subscriptions/a/1','x',NULL,NULL,'came');
CREATE INDEX dropped_position ON dropped (position);
CREATE INDEX dropped_private_position ON dropped_private (position);
CREATE INDEX keys_age ON keys (age);
COMMIT;
