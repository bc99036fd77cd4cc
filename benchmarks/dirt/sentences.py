"""Sentences of other languages, for rows in the wrong one: everyday and service talk, written for this purpose."""

from __future__ import annotations

SENTENCES = {
    "fr": """Je n'ai toujours pas reçu ma commande.|Pouvez-vous me rappeler demain matin ?
Il fait très beau aujourd'hui.
Où se trouve la gare la plus proche ?|Mon téléphone ne s'allume plus depuis hier.|Nous partirons en vacances en août.
Combien coûte ce billet aller-retour ?|Le médecin m'a conseillé de boire plus d'eau.
Ma carte a été refusée au magasin.
Est-ce que vous livrez aussi le samedi ?|Le chat dort sur le canapé du salon.|J'aimerais changer mon mot de passe.
Quels sont les symptômes de cette maladie ?|Mettez un peu de musique douce.|La réunion commence à neuf heures.
Je voudrais réserver une table pour deux.|Les enfants jouent dans le jardin.|Votre facture est en pièce jointe.
Pourquoi le virement prend-il si longtemps ?|Quel temps fera-t-il à Lyon ce week-end ?""",
    "de": """Ich habe meine Bestellung noch nicht erhalten.|Können Sie mich morgen früh zurückrufen?
Heute scheint die Sonne.
Wo ist der nächste Bahnhof?|Mein Telefon geht seit gestern nicht mehr an.|Wir fahren im August in den Urlaub.
Wie viel kostet die Rückfahrkarte?|Der Arzt hat mir geraten, mehr zu trinken.|Meine Karte wurde im Laden abgelehnt.
Liefern Sie auch am Samstag?|Die Katze schläft auf dem Sofa.|Ich möchte mein Kennwort ändern.
Welche Anzeichen hat diese Krankheit?|Spiel bitte etwas ruhige Musik.|Die Sitzung beginnt um neun Uhr.
Ich möchte einen Tisch für zwei Personen reservieren.|Die Kinder spielen im Garten.|Ihre Rechnung liegt bei.
Warum dauert die Überweisung so lange?|Wie wird das Wetter am Wochenende in Köln?""",
    "es": """Todavía no he recibido mi pedido.|¿Puede llamarme mañana por la mañana?|Hoy hace muy buen tiempo.
¿Dónde está la estación más cercana?|Mi teléfono no enciende desde ayer.|Nos vamos de vacaciones en agosto.
¿Cuánto cuesta el billete de ida y vuelta?|El médico me aconsejó beber más agua.|Rechazaron mi tarjeta en la tienda.
¿También entregan los sábados?|El gato duerme en el sofá.|Quisiera cambiar mi contraseña.
¿Cuáles son los síntomas de esta enfermedad?|Pon un poco de música tranquila.|La reunión empieza a las nueve.
Me gustaría reservar una mesa para dos.|Los niños juegan en el jardín.|Su factura va adjunta.
¿Por qué tarda tanto la transferencia?|¿Qué tiempo hará en Sevilla este fin de semana?""",
    "it": """Non ho ancora ricevuto il mio ordine.|Può richiamarmi domani mattina?|Oggi c'è un bel sole.
Dov'è la stazione più vicina?|Il mio telefono non si accende da ieri.|Andiamo in vacanza ad agosto.
Quanto costa il biglietto di andata e ritorno?|Il medico mi ha consigliato di bere di più.
Hanno rifiutato la mia carta.
Consegnate anche il sabato?|Il gatto dorme sul divano.|Vorrei cambiare la mia password.
Quali sono i sintomi di questa malattia?|Metti un po' di musica tranquilla.|La riunione comincia alle nove.
Vorrei prenotare un tavolo per due.|I bambini giocano in giardino.|La fattura è allegata.
Perché il bonifico ci mette tanto?|Che tempo farà a Torino questo fine settimana?""",
    "ru": """Я до сих пор не получил свой заказ.|Вы можете перезвонить мне завтра утром?|Сегодня светит солнце.
Где ближайшая станция?|Мой телефон не включается со вчерашнего дня.|В августе мы едем в отпуск.
Сколько стоит билет туда и обратно?|Врач посоветовал мне пить больше воды.|В магазине не приняли мою карту.
Вы доставляете по субботам?|Кошка спит на диване.|Я хочу сменить пароль.
Какие симптомы у этой болезни?|Включи спокойную музыку.|Встреча начинается в девять часов.
Я хотел бы заказать столик на двоих.|Дети играют в саду.|Ваш счёт во вложении.
Почему перевод идёт так долго?|Какая погода будет в Казани в выходные?""",
    "zh": """我还没有收到订单。|您明天早上可以给我回电话吗？|今天天气很好。|最近的车站在哪里？
我的手机从昨天起就打不开了。
我们八月去度假。|往返票多少钱？|医生建议我多喝水。|我的卡在商店被拒了。|星期六也送货吗？|猫在沙发上睡觉。
我想修改密码。
这种病有什么症状？|放一点轻音乐。|会议九点开始。|我想订一张两人的桌子。|孩子们在花园里玩。|账单在附件里。
为什么转账要这么久？|这个周末杭州天气怎么样？""",
    "en": """I have not received my order yet.|Could you call me back tomorrow morning?|The weather is lovely today.
Where is the nearest station?|My phone has not turned on since yesterday.|We are going on holiday in August.
How much is a return ticket?|The doctor told me to drink more water.|My card was declined at the shop.
Do you deliver on Saturdays as well?|The cat is asleep on the sofa.|I would like to change my password.
What are the symptoms of this disease?|Play some quiet music.|The meeting starts at nine o'clock.
I would like to book a table for two.|The children are playing in the garden.|Your invoice is attached.
Why does the transfer take so long?|What will the weather be like in Leeds this weekend?""",
}


def sentences(language: str) -> list[str]:
    """The sentences of one language."""
    return [one for line in SENTENCES[language].splitlines() for one in line.split("|")]
